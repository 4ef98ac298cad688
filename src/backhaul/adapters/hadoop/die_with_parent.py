"""Become another program that the kernel kills when the starting thread ends.

Run as a script: ``python -I -S die_with_parent.py PARENT_PID PROGRAM ARGUMENT...``. It is a program
and not a ``preexec_fn``, because Python code between fork and exec may deadlock when threads are
running. The process id stays the same; the request to die survives the exec.

A DistCp client that outlived its agent could submit after the next agent has looked; a server of
the test bed that outlived its tests would be nobody's.
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
    # SIGKILL, as a program that is stopped (SIGSTOP) would sleep through any other signal.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    # The parent may have ended before the request was in place: then nobody would send the signal.
    if os.getppid() != parent_pid:
        sys.exit("the starting process has ended")
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
