"""Standard input, output and error, whatever the caller made of them."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDERR = 2


class _Output(io.FileIO):
    """Drops what no reader takes any more, so that a command ends with its own exit code.

    Standard error drops every failure: there is no other place to report it.
    """

    _LOST = frozenset({errno.EPIPE, errno.EBADF})  # its reader is gone; it was opened for reading

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in self._LOST and self.fileno() != STDERR:
                raise
            return memoryview(data).nbytes


def open_streams() -> None:
    """Make the three usable; a closed one becomes the null device, also for child processes.

    A stream that was replaced, as by a test runner, stays as it is.
    """
    if sys.stdin is None:
        sys.stdin = open(_null(), encoding="utf-8")  # noqa: SIM115 - a descriptor
    if sys.stdout is sys.__stdout__:
        sys.stdout = _output(sys.__stdout__)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _output(sys.__stderr__)


def drop_unwritten() -> None:
    """Drop what a full disk did not take; the failure is already reported.

    Python's own flush at exit would retry it and replace the exit code by 120.
    """
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - to the end


def _output(stream: Any) -> io.TextIOWrapper:
    """A terminal or pipe that is not UTF-8 gets escapes, and the command does not fail."""
    number = _null() if stream is None else stream.fileno()
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(number, "wb", closefd=False)),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=stream is None or stream.line_buffering,
        write_through=stream is not None and stream.write_through,
    )


def _null() -> int:
    """The lowest free number: that of the closed stream, if the lower ones are open already.

    Otherwise the next file would get the number, and a library's output would go into that file.
    """
    handle = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(handle, handle <= STDERR)
    return handle
