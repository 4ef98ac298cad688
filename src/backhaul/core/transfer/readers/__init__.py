"""What readers of a published directory rely on: its completion marker, the order of its files."""
