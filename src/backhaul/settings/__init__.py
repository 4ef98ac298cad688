"""Settings: one TOML file. `model` defines them, `load` reads them, `routes` makes the policy.

AWS's and Hadoop's own settings keep their own names and files. A `[[route]]` defines what a request
may do; how a route decides is `core.requests.policy`.
"""
