"""What an observer keeps: of each queue, and of each transfer under way."""
