"""Become another program that the kernel kills when the starting thread ends.

Run as a script: ``python -I -S die_with_parent.py PARENT_PID PROGRAM ARGUMENT...``. A program, not
a ``preexec_fn``: Python code between fork and exec may deadlock when threads are running. The
process id stays the same, and the signal that is set here survives the exec.

A DistCp client that outlived its agent could submit an application after the next agent has
looked for one; a server of the testbed that outlived its tests would run on unnoticed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Have the kernel send SIGKILL when the parent ends, then exec the program."""
    parent_pid, program = int(sys.argv[1]), sys.argv[2:]
    # SIGKILL, because a program that is stopped (SIGSTOP) acts on no other signal.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    # The parent may have ended before prctl was called: then no signal would ever come.
    if os.getppid() != parent_pid:
        sys.exit("the starting process has ended")
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
