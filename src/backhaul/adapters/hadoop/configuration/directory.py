"""The directory of the node's Hadoop configuration, found as Hadoop's own commands find it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from backhaul.adapters.hadoop.configuration.site_files import unreadable
from backhaul.core.errors import ConfigurationError

SYSTEM_DIRECTORY = Path("/etc/hadoop/conf")  # where the packages of most distributions put it


def hadoop_conf_dir() -> Path | None:
    """HADOOP_CONF_DIR, else HADOOP_HOME/etc/hadoop, else /etc/hadoop/conf; None: none of them.

    Raises:
        ConfigurationError: E_CFG_HADOOP: HADOOP_CONF_DIR names no directory, or one of the three
            may not be accessed.
    """
    if named := os.environ.get("HADOOP_CONF_DIR"):
        directory = Path(named)
        if not _exists(directory, "HADOOP_CONF_DIR", Path.is_dir):
            raise ConfigurationError(
                "E_CFG_HADOOP",
                f"HADOOP_CONF_DIR names {directory}, which is no directory",
                hint="point it at the directory with core-site.xml, or unset it",
            )
        return directory
    if home := os.environ.get("HADOOP_HOME"):
        directory = Path(home) / "etc" / "hadoop"
        if _exists(directory, "HADOOP_HOME", Path.is_dir):
            return directory
    is_default = _exists(SYSTEM_DIRECTORY / "core-site.xml", "the default", Path.is_file)
    return SYSTEM_DIRECTORY if is_default else None


def _exists(path: Path, named_by: str, is_kind: Callable[[Path], bool]) -> bool:
    try:
        return is_kind(path)
    except OSError as error:
        message, hint = unreadable(path, error)
        raise ConfigurationError(
            "E_CFG_HADOOP", f"Hadoop's configuration ({named_by}): {message}", hint=hint
        ) from error
