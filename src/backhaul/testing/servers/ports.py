"""Ports of 127.0.0.1: which are free, and who listens."""

from __future__ import annotations

import random
import socket
from pathlib import Path

# Below 32768, where Linux by default begins to hand out ports for outgoing connections: one of
# those could take the port between choosing it and the server's bind, or while a server restarts.
LOWEST, HIGHEST = 20_000, 32_000
_TRIES = 200
_LISTEN = "0A"


def free_ports(count: int) -> list[int]:
    """Choose ports that are free at this moment.

    Another process may take one before the server binds it, so a start must still be repeated on
    a clash. Random, so that two test runs at once rarely meet.
    """
    chosen: list[int] = []
    for _ in range(_TRIES):
        if len(chosen) == count:
            return chosen
        port = random.randint(LOWEST, HIGHEST)  # noqa: S311 - not a secret
        if port not in chosen and _is_free(port):
            chosen.append(port)
    raise OSError(f"{count} free ports from {LOWEST} to {HIGHEST} not found in {_TRIES} tries")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do; without it a port with connections in TIME_WAIT looks taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses on which this process listens, such as ``("127.0.0.1", 24680)``.

    Linux only (reads /proc). Empty when the process has ended. IPv6 addresses that wrap an IPv4
    one are given as the IPv4 one; the IPv6 wildcard is ``::``.
    """
    inodes = _socket_inodes(pid)
    found: set[tuple[str, int]] = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.add((_address(address, family), int(port, 16)))
    return found


def _socket_inodes(pid: int) -> set[str]:
    inodes: set[str] = set()
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return inodes
    for descriptor in descriptors:
        try:
            target = str(descriptor.readlink())
        except OSError:  # Closed in between.
            continue
        if target.startswith("socket:["):
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    return inodes


def _address(hexadecimal: str, family: socket.AddressFamily) -> str:
    # The kernel prints each 32-bit word in the byte order of the machine.
    raw = bytes.fromhex(hexadecimal)
    words = [raw[i : i + 4][::-1] for i in range(0, len(raw), 4)]
    return socket.inet_ntop(family, b"".join(words)).removeprefix("::ffff:")
