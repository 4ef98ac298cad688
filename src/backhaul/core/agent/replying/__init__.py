"""Replies leave: a thread for each target, and its back-off."""
