"""Prove that a wheel holds the whole package and needs only the runtime packages.

Run with the interpreter that has the wheel installed, away from the source tree:

    build/smoke/bin/python -I scripts/check_wheel.py build/wheel/backhaul-*.whl src

Modules that need an extra are not imported here: the stand-ins (`backhaul.demo`,
`backhaul.testing`) and the ledger on PostgreSQL. Nor are migrations, which run under Alembic.
"""

import importlib
import pkgutil
import sys
import zipfile
from pathlib import Path

NOT_IMPORTED = (
    "backhaul.__main__",
    "backhaul.adapters.ledger.opening.moving",
    "backhaul.adapters.ledger.opening.servers",
    "backhaul.adapters.ledger.postgres",
    "backhaul.demo",
    "backhaul.migrations",
    "backhaul.testing",
)


def missing_files(wheel: Path, source: Path) -> list[str]:
    """Name the files of the source package that the wheel does not hold."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    ours = (path for path in (source / "backhaul").rglob("*") if path.is_file())
    names = (path.relative_to(source).as_posix() for path in ours if path.suffix != ".pyc")
    return sorted(name for name in names if name not in packed)


def import_all() -> None:
    """Import every module an agent may load; a missing dependency raises here."""
    package = importlib.import_module("backhaul")
    for module in pkgutil.walk_packages(package.__path__, "backhaul."):
        if not module.name.startswith(NOT_IMPORTED):
            importlib.import_module(module.name)


if __name__ == "__main__":
    if missing := missing_files(Path(sys.argv[1]), Path(sys.argv[2])):
        sys.exit("not in the wheel: " + ", ".join(missing))
    if "site-packages" not in str(importlib.import_module("backhaul").__file__):
        sys.exit("the interpreter does not have the wheel: backhaul is imported from elsewhere")
    import_all()
