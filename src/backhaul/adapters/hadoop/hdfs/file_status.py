"""Files with their blocks, as the NameNode lists them."""

from __future__ import annotations

from collections.abc import Sequence

from backhaul.adapters.hadoop.protocol.hdfs_pb2 import (
    GetListingRequestProto,
    GetListingResponseProto,
    HdfsFileStatusProto,
)
from backhaul.adapters.hadoop.rpc import ActiveNameNode, RemoteError


def files_with_blocks(
    namenode: ActiveNameNode, paths: Sequence[str]
) -> list[HdfsFileStatusProto | RemoteError | None]:
    """One for each path, in order; None where no file is.

    `getListing` of a file lists the file itself. Unlike `getBlockLocations` it leaves the access
    time alone.

    Raises:
        NoActiveNameNode: No NameNode answers as the active one.
    """
    requests = [
        GetListingRequestProto(src=path, startAfter=b"", needLocation=True) for path in paths
    ]
    responses = namenode.call("getListing", requests, GetListingResponseProto)
    return [
        response if isinstance(response, RemoteError) else listed_file(response)
        for response in responses
    ]


def listed_file(response: GetListingResponseProto) -> HdfsFileStatusProto | None:
    """The file that was listed; None for a directory or nothing."""
    entries = response.dirList.partialListing
    # A file lists as itself, with an empty name; entries with names are a directory's.
    if len(entries) != 1 or entries[0].path:
        return None
    return entries[0] if entries[0].fileType == HdfsFileStatusProto.IS_FILE else None
