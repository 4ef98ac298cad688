"""A network of its own for servers that listen on every address.

``python -m testbed.netns [--of PID] PROGRAM ARGUMENT...`` runs the program in a
new network namespace with nothing in it but loopback, or in the one of a running process.
MapReduce's application masters open ports on every address and no setting keeps them from it; in
here nothing else can reach them, and no port can be taken.

Linux, and root (CAP_SYS_ADMIN).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 0x1
_IFREQ = "16sh22x"  # struct ifreq: the interface's name, its flags
# Set for what runs inside.
MARK = "TESTBED_NAMESPACE"


def is_possible() -> bool:
    """Whether this process may make a network namespace."""
    return sys.platform == "linux" and os.geteuid() == 0


def command(program: list[str], *, of: int | None = None) -> list[str]:
    """The argv that runs this one in a new namespace, or in the one of process `of`."""
    joined = ["--of", str(of)] if of is not None else []
    return [sys.executable, "-m", "testbed.netns", *joined, *program]


def is_inside() -> bool:
    """Whether this process was started by `command`."""
    return MARK in os.environ


def enter() -> None:
    """Put the calling thread, and what it starts, into a new namespace with loopback up."""
    _check(_libc().unshare(_CLONE_NEWNET), "unshare(CLONE_NEWNET)")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack(_IFREQ, b"lo", 0)
        _, flags = struct.unpack(_IFREQ, fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", flags | _IFF_UP))


def join(pid: int) -> None:
    """Put the calling thread into the namespace of a running process."""
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        _check(_libc().setns(namespace.fileno(), _CLONE_NEWNET), "setns")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def main() -> None:
    """Enter, then become the program."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--of"]:
        join(int(arguments[1]))
        arguments = arguments[2:]
    else:
        enter()
    os.environ[MARK] = "yes"
    os.execvp(arguments[0], arguments)


if __name__ == "__main__":
    main()
