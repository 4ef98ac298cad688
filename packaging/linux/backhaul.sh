#!/bin/sh
# The command `backhaul`, by its own Python and libraries.
exec /opt/backhaul/bin/python -m backhaul "$@"
