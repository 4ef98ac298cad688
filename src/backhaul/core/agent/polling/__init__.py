"""How messages of one queue, or of several, come into the agent's slots."""
