"""`backhaul init`: a configuration, and the queue, notification and IAM that it needs.

`answers` reads what a person typed, `configuration` writes the TOML, `infrastructure` decides what
AWS needs, `terraform` and `cloudformation` write that down, `files` puts it on disk, and
`comparison` finds what is different in a live account.
"""
