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
    """Takes what nobody reads any more, so that a command goes on to its own end and exit code.

    Standard error takes all: what cannot be said there can be said nowhere.
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
    """Make the three usable; a closed one is the null device, for child processes, too.

    What is no longer the interpreter's own stays as it is.
    """
    if sys.stdin is None:
        sys.stdin = open(_null(), encoding="utf-8")  # noqa: SIM115 - a descriptor
    if sys.stdout is sys.__stdout__:
        sys.stdout = _output(sys.__stdout__)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _output(sys.__stderr__)


def drop_unwritten() -> None:
    """What a full disk did not take has been told; Python's own flush at exit shall not retry it.

    That would replace the exit code by 120.
    """
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - to the end


def _output(stream: Any) -> io.TextIOWrapper:
    """A terminal or pipe that is not UTF-8 gets an escape, and the command does not fail."""
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

    Otherwise the next file would get it, and whatever a library prints would be written there.
    """
    handle = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(handle, handle <= STDERR)
    return handle
