"""The outside world, one module per system; foreign exceptions end here (see `core.errors`)."""
