"""The machine: clock, log, systemd, and files that its processes share or must trust."""
