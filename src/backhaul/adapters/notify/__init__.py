"""Notifications leave here: by a command, by e-mail; both read what `rendering` makes."""
