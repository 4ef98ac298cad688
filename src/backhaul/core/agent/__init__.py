"""What runs for as long as the agent does: messages, their visibility, its threads, its end."""
