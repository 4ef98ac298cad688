"""The metrics as a file, for node_exporter's textfile collector, where no port may be open.

Source: https://github.com/prometheus/node_exporter#textfile-collector
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from backhaul.access import refusal
from backhaul.core.errors import ConfigurationError

MODE = 0o644  # node_exporter runs as a user of its own
_SETTING = "metrics.textfile"


class TextFile:
    """Replaces one file as a whole: a reader never sees half of it."""

    def __init__(self, path: Path, content: Callable[[], bytes]) -> None:
        self.path = path
        self._content = content
        # Not `.prom`: the collector reads every file that ends so.
        self._draft = path.with_name(f".{path.name}.new")

    def write(self) -> None:
        """Write it anew.

        Raises:
            ConfigurationError: E_METRICS_TEXTFILE.
        """
        content = self._content()
        try:
            self._draft.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(self._draft, flags, MODE)
            with open(handle, "wb") as draft:  # noqa: PTH123 - a descriptor
                os.fchmod(handle, MODE)  # whatever the umask is
                draft.write(content)
            self._draft.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                self._draft.unlink(missing_ok=True)
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> ConfigurationError:
        message, hint = f"{_SETTING} {self.path}: {error.strerror}", "check that disk"
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            message = f"{_SETTING} {self.path}: there is no directory {self.path.parent}"
            hint = "make it, owned by the agent's user, or correct the path"
        elif error.errno in {errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST}:
            hint = "name a file in that directory, such as backhaul.prom"
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            message, hint = refusal(self.path.parent, "written")
            message = f"{_SETTING}: {message}"
            hint += "; under systemd: ReadWritePaths="
        return ConfigurationError("E_METRICS_TEXTFILE", message, hint=hint)
