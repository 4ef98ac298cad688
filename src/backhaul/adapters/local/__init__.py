"""A mounted file system as target: laptops, demos, NFS landing zones.

`target` implements the port, `walk` opens directories without following a link, `staging` refuses a
`.backhaul` of another user, `removal` deletes trees, `faults` maps errno to Backhaul's errors.
"""

from backhaul.adapters.local.target import LocalTarget

__all__ = ["LocalTarget"]
