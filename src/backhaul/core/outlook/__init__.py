"""What will be, and what should have come: forecasts of the backlog, and expected data."""
