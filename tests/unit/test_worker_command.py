"""With what a worker is started."""

from __future__ import annotations

import subprocess
from pathlib import Path

from backhaul.app.ports import WORKER


def test_a_worker_takes_no_module_from_the_working_directory(tmp_path: Path) -> None:
    """`backhaul copy` may be called in any directory, one that others write included."""
    (tmp_path / "backhaul").mkdir()
    (tmp_path / "backhaul" / "__init__.py").touch()
    (tmp_path / "backhaul" / "worker.py").write_text("print('from here')", "utf-8")
    done = subprocess.run([*WORKER], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "from here" not in done.stdout
    assert "in main" in done.stderr, "the worker itself, which misses its argument"
