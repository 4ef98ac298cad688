"""OpenLineage: what became of a transfer, as run events; the extra `backhaul[openlineage]`."""
