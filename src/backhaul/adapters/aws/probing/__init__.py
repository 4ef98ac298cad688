"""Requests that show what AWS allows, for `backhaul doctor`; none takes or leaves anything."""
