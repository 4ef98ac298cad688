"""Notifications: when one is due (`plan`), and the threads that deliver them (`notifier`)."""
