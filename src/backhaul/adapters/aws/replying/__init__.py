"""Replies by SQS and SNS; by other ways: `adapters.reply`."""
