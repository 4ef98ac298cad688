"""Who is asked what HDFS holds: the DataNodes themselves where that can be, else the node's `hdfs`.

The choice is made file by file: what one way cannot tell, the next is asked, and what none can is
left to be read back by the caller. Whoever told it stands in the evidence.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from backhaul.adapters.hadoop.configuration.filesystems import namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs_command import CommandChecker, find_program
from backhaul.adapters.hadoop.hdfs_datanode import (
    ChecksumUnavailable,
    DataNodeChecker,
    why_not_here,
)
from backhaul.adapters.hadoop.hdfs_security import Login, ticket
from backhaul.core.model import FileStatus
from backhaul.core.ports import ContentChecker, StoredChecksum

# A way that told nothing about any file, this often in a row, is left alone for a while: behind a
# firewall every question would wait for its timeout.
SILENT_BATCHES = 2
REST_S = 300.0


def content_checker(
    filesystem: str,
    configuration: HadoopConfiguration | str | None,
    status: Callable[[str], FileStatus | None],
    is_encrypted: Callable[[str], bool],
    login: Login | None = None,
) -> ChecksumFallback | None:
    """The ways that this node has; None when there is none.

    Args:
        filesystem: `hdfs://host:port` or `hdfs://nameservice`.
        configuration: The node's; a directory is read here.
        status: Length and time of a file.
        is_encrypted: Whether a file is in an encryption zone.
        login: Who the agent is on a cluster with Kerberos; for the command.
    """
    configuration = HadoopConfiguration.of(configuration)
    ways: list[ContentChecker] = []
    if not why_not_here(configuration):
        by_hostname = configuration.get_boolean("dfs.client.use.datanode.hostname")
        addresses = namenodes(configuration, filesystem)
        ways.append(DataNodeChecker(addresses, by_hostname=by_hostname))
    program = find_program(os.environ)
    if program is not None:
        user = partial(ticket, login or Login())
        conf_dir = str(configuration.directory) if configuration.directory else None
        ways.append(
            CommandChecker(
                program, filesystem, status, is_encrypted, conf_dir=conf_dir, ticket=user
            )
        )
    return ChecksumFallback(ways) if ways else None


@dataclass(kw_only=True)
class _Way:
    checker: ContentChecker
    silent: int = 0
    rests_until_s: float = 0.0


class ChecksumFallback:
    """Implements `ports.ContentChecker` over several, in order of preference."""

    name = "first"

    def __init__(self, checkers: Sequence[ContentChecker]) -> None:
        self._ways = [_Way(checker=each) for each in checkers]

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        """Each path from the first way that can tell it."""
        nothing = StoredChecksum(
            size_bytes=None, modified_ms=0, why="nobody to ask for HDFS checksums"
        )
        answers: list[StoredChecksum | None] = [nothing] * len(paths)
        open_ones = list(range(len(paths)))
        for way in self._ways:
            if not open_ones:
                break
            if way.rests_until_s > time.monotonic():
                continue
            said = self._ask(way, [paths[number] for number in open_ones])
            for number, held in zip(open_ones, said, strict=True):
                before = answers[number]
                if held is not None and held.why and before is not None and before is not nothing:
                    held = replace(held, why=f"{before.why}; {held.why}")  # noqa: PLW2901
                answers[number] = held
            open_ones = [
                number
                for number in open_ones
                if (held := answers[number]) is not None and not _is_settled(held)
            ]
        return answers

    def codec(self, path: str) -> str | None:
        """How a file is erasure-coded; empty: it is not; None: nobody here knows."""
        for way in self._ways:
            if isinstance(way.checker, DataNodeChecker):
                return way.checker.codec(path)
        return None

    def close(self) -> None:
        for way in self._ways:
            way.checker.close()

    @staticmethod
    def _ask(way: _Way, paths: Sequence[str]) -> list[StoredChecksum | None]:
        try:
            said = way.checker.stored_checksums(paths)
        except ChecksumUnavailable as error:
            unknown = StoredChecksum(
                size_bytes=None, modified_ms=0, why=f"{way.checker.name}: {error}"
            )
            said = [unknown] * len(paths)
        if any(held is None or _is_settled(held) for held in said):
            way.silent = 0
        else:
            way.silent += 1
            if way.silent >= SILENT_BATCHES:
                way.rests_until_s = time.monotonic() + REST_S
        return said


def _is_settled(held: StoredChecksum) -> bool:
    """Nothing more is to be learnt by asking another way."""
    return held.checksum is not None or held.is_final
