"""Become another program that the kernel kills when the starting thread ends.

Run as a script: ``python -I -S die_with_parent.py PARENT_PID PROGRAM ARGUMENT...``. A client that
outlived its agent could submit after the next agent has looked.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGKILL at the parent's end, then exec the program."""
    parent_pid, program = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    # The parent may have ended before the request was in place: then nobody would send the signal.
    if os.getppid() != parent_pid:
        sys.exit("the starting process has ended")
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
