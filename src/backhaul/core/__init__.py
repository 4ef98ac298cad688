"""Backhaul's decisions: no client library, no clock, no randomness; effects stand behind `ports`.

Read `transfer.attempt` first: it is the order of steps that keeps the data safe. `agent` feeds it
from the queue.
"""
