"""What S3 has, what the ledger proved and what the target holds, compared in one ordered pass.

`values` has what is compared and the ten classes. `places` decides where an object belongs.
`merge` brings three sorted streams together, `classes` decides each path, `checks` looks again
before a difference is reported. Nothing here lists, reads or waits: streams come from outside.

Everything is in the order of the bytes of a path (UTF-8), a directory as `name/`: the order of S3
keys. Python's `str` has the same order.

Another source of objects than a listing of S3 (an inventory, for example) is a class with the one
method of `values.ObjectSource`; `app.reconcile.streams` turns it into the first stream.
"""
