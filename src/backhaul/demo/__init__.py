"""`backhaul demo`: the whole product on this machine, with nothing but Python.

`main_job` is the run itself, `live` what `--dashboard` adds: messages that go on, and the page.
`fleet` is `--fleet`: two agents on a PostgreSQL, one of which is killed.
"""
