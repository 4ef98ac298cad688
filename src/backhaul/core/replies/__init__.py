"""Replies: what is sent when data has arrived, or has not; values and rules only."""
