"""A small Debian in a directory: entered with /dev and /proc of this machine, and its network.

The mounts are in a namespace of the command's own, and end with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.installation import Installation
from tests.acceptance.landing import LocalLanding
from tests.packages import built

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOME = "/var/lib/backhaul"
_ENTER = """
mount --rbind /dev "$0/dev" && mount --bind /proc "$0/proc" && exec chroot "$0" "$@"
"""
_AGENT = ("setpriv", "--reuid=backhaul", "--regid=backhaul", "--clear-groups")


@dataclass(frozen=True)
class Machine:
    """The directory, and what is done in it."""

    root: Path

    def argv(self, *command: str) -> list[str]:
        """Runs a command in it, as root; the process is the command itself."""
        return ["unshare", "--mount", "sh", "-c", _ENTER, str(self.root), *command]

    def run(self, *command: str, status: int = 0) -> str:
        """Both outputs."""
        environment = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "TMPDIR": "/tmp"}
        return built.run(*self.argv(*command), status=status, environment=environment)

    def sh(self, text: str, status: int = 0) -> str:
        """Lines of a shell; the first that fails ends them."""
        return self.run("sh", "-ec", text, status=status)

    def take(self, path: Path) -> str:
        """Copy a file in; its path there."""
        shutil.copyfile(path, self.root / "tmp" / path.name)
        return f"/tmp/{path.name}"

    def path(self, inside: str) -> Path:
        """Of a file of it, from outside."""
        return self.root / inside.lstrip("/")


def make(root: Path) -> Machine:
    """The distribution of this machine, with its Python, by mmdebstrap.

    Names of mirrors are removed, and what mmdebstrap prints is not shown, as it has them.
    """
    built.need("mmdebstrap", "unshare", "setpriv")
    if os.geteuid() != 0:
        built.unavailable("needs root, for chroot")
    sources = [Path("/etc/apt/sources.list.d") / f"{name}.sources" for name in ("debian", "ubuntu")]
    sources = [one for one in [*sources, Path("/etc/apt/sources.list")] if one.is_file()]
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text("utf-8").splitlines()
    )
    done = subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", "--include=python3"),
            *(release["VERSION_CODENAME"].strip('"'), str(root), str(sources[0])),
        ],
        capture_output=True,
        check=False,
        timeout=600,
    )
    if done.returncode != 0:
        built.unavailable(f"mmdebstrap failed with status {done.returncode}")
    for place in ("etc/apt/sources.list.d", "var/lib/apt/lists"):
        shutil.rmtree(root / place, ignore_errors=True)
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    return Machine(root)


@dataclass(kw_only=True)
class InMachine(Installation):
    """The installed `backhaul`, run as the agent's user; data lands in /srv/landing."""

    machine: Machine

    def __post_init__(self) -> None:
        super().__post_init__()
        kept = ("AWS_", "BACKHAUL_", "NO_PROXY", "no_proxy")
        self.environment = {
            **{name: text for name, text in self.environment.items() if name.startswith(kept)},
            "PATH": PATH,
            "HOME": HOME,
            "BACKHAUL_LEDGER": f"{HOME}/ledger.db",
            "LC_ALL": "C.UTF-8",
        }
        self.machine.sh("install -d -o backhaul -g backhaul /srv/landing")
        self.landing = LocalLanding(self.machine.path("/srv/landing"))
        self.landing.uri = "file:///srv/landing"

    def argv(self, *arguments: str) -> list[str]:
        return self.machine.argv(*_AGENT, "backhaul", *arguments)
