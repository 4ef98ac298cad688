"""`backhaul doctor`: probes of everything that a copy needs, each finding with its fix."""
