"""Backhaul's decisions: no client library, no clock, no randomness; effects stand behind `ports`.

Read `transfer` first: it is the order of events that keeps the data safe. `runner` carries that
order out; `agent` feeds it from the queue.
"""
