"""What an agent imports needs no extra: neither PostgreSQL's driver nor the stand-ins' packages."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

from tests.house.source import ROOT, SRC

# Distributions whose modules have another name.
MODULES = {"flask-cors": "flask_cors", "openlineage-python": "openlineage"}
WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None  # as if it were not installed
sys.path.insert(0, {root!r})
from scripts.check_wheel import import_all
import_all()
"""


def test_modules_of_an_agent_need_no_extra() -> None:
    """The gate "wheel" of `./dev test` shows the same, minutes later."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {
        re.split(r"[\[<>=]", one)[0]
        for requirements in project["optional-dependencies"].values()
        for one in requirements
    }
    names = sorted(MODULES.get(one, one) for one in extras)
    assert {"psycopg", "pyarrow"} <= set(names)
    script = WITHOUT.format(names=names, root=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=SRC, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
