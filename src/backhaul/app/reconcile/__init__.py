"""`backhaul reconcile`: S3 against the ledger against the target, in constant memory.

`streams` opens the three sorted streams, `second_look` checks a finding before it is reported, with
`markers` where the route has one, `run` puts them together, `parts` splits and resumes a large one,
`report` writes what was found, `sending` sends what is missing still by a `last_look`. What a class
is: `core.reconciliation`.

Another source of objects is given to `run.Comparison` as `objects`.
"""
