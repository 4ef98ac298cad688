"""The Pythons of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def real_python(version: str) -> Path | None:
    """The program of `3.12`, and not what chooses one; nothing where there is none."""
    candidates = [
        f"python{version}",
        *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")),
    ]
    for one in candidates:
        found = shutil.which(one)
        if found is None:
            continue
        done = subprocess.run(
            [found, "-I", "-c", "import sys; print(sys._base_executable)"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return Path(done.stdout.strip()).resolve()
    return None
