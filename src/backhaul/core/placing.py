"""Where a transfer's staging is, so that its files are what files written in place would be.

A file keeps what its directory gave it when it was created: group, ACL, erasure coding, and the
kind of disk of its blocks. A rename changes none of that. So staging is below the very directory
that the files go to, or below the one that this directory will be made in.
"""

from __future__ import annotations

from backhaul.core.model import STAGING_NAME, Location


def staging_anchor(
    prefix: Location, directory: Location, existing: Location, *, is_tree: bool
) -> Location:
    """The directory to hold `.backhaul`: the nearest existing one on the way to the target.

    It is at or below the route's own directory. Only a tree that is to become that very directory
    cannot wait inside it for its one rename: it waits above.

    Args:
        prefix: The route's directory that covers the target.
        directory: The target directory.
        existing: It, or the nearest existing directory above it.
        is_tree: A directory is copied, not one file.
    """
    if existing.is_within(prefix):
        return existing
    return existing if is_tree and directory == prefix else prefix


def staging_root(anchor: Location, destination: Location) -> Location:
    """Where the epochs of a destination are, below an anchor."""
    return anchor.join(f"{STAGING_NAME}/{destination.digest}")


def other_roots(prefix: Location, anchor: Location, destination: Location) -> list[Location]:
    """Where else this destination's staging may have been: above `anchor`, up to the prefix."""
    found = []
    while anchor != prefix and anchor.is_within(prefix):
        anchor = anchor.parent
        found.append(staging_root(anchor, destination))
    return found
