"""The machine: clock, log, processes, the files that its processes share."""
