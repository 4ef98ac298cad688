"""`backhaul reconcile`: S3 against the ledger against the target, in constant memory.

`streams` opens the three sorted streams, `second_look` checks a finding before it is reported,
`run` puts them together, `report` writes what was found. What a class is: `core.reconciliation`.
"""
