"""How bytes travel: `native` copies inside a worker process, `pool` keeps those processes."""
