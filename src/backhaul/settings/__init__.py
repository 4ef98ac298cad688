"""Settings: one TOML file. What may stand in it is `model`, reading it `load`, its routes `routes`.

AWS's and Hadoop's own settings are not repeated here: they come by their own names from their own
places. What a request may do is a `[[route]]`; how a route decides is `core.policy`.
"""
