"""Replies leave here: by a webhook, by a command. By SQS and SNS: `adapters.aws.replying`."""
