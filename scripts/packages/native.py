"""deb and rpm, by nfpm."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.packages.release import LINUX, PYTHONS, Release, project

HOME = "/opt/backhaul"
SCRIPTS = ("preinstall", "postinstall", "preremove", "postremove")
MAN = "/usr/share/man/man1"
DOC = "/usr/share/doc/backhaul"
UNITS = "/usr/lib/systemd/system"
SHARE = "/usr/share/backhaul"
# The package's own, so that rpm removes them, too.
DIRECTORIES = (
    *(HOME, f"{HOME}/bin", DOC, SHARE, f"{SHARE}/grafana", f"{SHARE}/prometheus"),
    "/etc/backhaul",
)


def build(work: Path, out: Path, release: Release, release_id: str) -> list[Path]:
    """Write both to `out`, from `work/tree` and `work/share`.

    Raises:
        subprocess.CalledProcessError: nfpm failed, and has printed why.
    """
    scripts = work / "scripts"
    scripts.mkdir()
    for name in (*SCRIPTS, "backhaul", "python"):
        text = (LINUX / f"{name}.sh").read_text("utf-8")
        text = text.replace("@RELEASE@", release_id).replace("@VERSION@", release.version)
        (scripts / name).write_text(text, "utf-8")
        (scripts / name).chmod(0o755)
    configuration = work / "nfpm.json"  # JSON is YAML
    configuration.write_text(json.dumps(_configuration(work, release)), "utf-8")
    program = shutil.which("nfpm", path=str(Path(sys.executable).parent))
    made = []
    for kind, name in (
        ("deb", f"backhaul_{release.package_version}-1_{release.architecture}.deb"),
        ("rpm", f"backhaul-{release.package_version}-1.{release.machine}.rpm"),
    ):
        made.append(out / name)
        subprocess.run(
            [str(program), "package", "-f", str(configuration), "-p", kind, "-t", str(made[-1])],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    return made


def _configuration(work: Path, release: Release) -> dict[str, Any]:
    pythons = [f"python{one}" for one in reversed(PYTHONS)]
    scripts = {name: str(work / "scripts" / name) for name in SCRIPTS}
    return {
        "name": "backhaul",
        "arch": release.architecture,
        "platform": "linux",
        "version": release.package_version,
        "version_schema": "none",
        "release": "1",
        "section": "admin",
        "priority": "optional",
        "maintainer": "The Backhaul authors",
        "license": project()["license"],
        "description": project()["description"],
        "mtime": release.time,
        "scripts": scripts,
        "contents": _contents(work, release.time),
        "overrides": {
            "deb": {"depends": [" | ".join(pythons)]},
            # By file, as distributions that use RPM name their packages differently.
            "rpm": {"depends": [f"({' or '.join(f'/usr/bin/{one}' for one in pythons)})"]},
        },
        "deb": {"compression": "zstd"},
        # Otherwise the name of the machine that built it.
        "rpm": {"compression": "zstd", "buildhost": "localhost", "group": "System/Daemons"},
    }


def _contents(work: Path, time: str) -> list[dict[str, Any]]:
    share = work / "share"
    programs = [
        _file(work / "scripts" / name, f"{HOME}/bin/{name}", 0o755)
        for name in ("backhaul", "python")
    ]
    systemd = share / "systemd"
    units = [_file(one, f"{UNITS}/{one.name}") for one in _sorted(systemd, "*.service", "*.timer")]
    completions = share / "completions"
    zsh = {"deb": "/usr/share/zsh/vendor-completions", "rpm": "/usr/share/zsh/site-functions"}
    entries = [
        {"src": str(work / "tree"), "dst": f"{HOME}/package", "type": "tree"},
        *programs,
        {"src": f"{HOME}/bin/backhaul", "dst": "/usr/bin/backhaul", "type": "symlink"},
        *units,
        _file(systemd / "sysusers.d" / "backhaul.conf", "/usr/lib/sysusers.d/backhaul.conf"),
        _file(systemd / "tmpfiles.d" / "backhaul.conf", "/usr/lib/tmpfiles.d/backhaul.conf"),
        *({"dst": one, "type": "dir", "file_info": {"mode": 0o755}} for one in DIRECTORIES),
        _file(systemd / "agent.env", "/etc/backhaul/agent.env", 0o600, "config|noreplace"),
        _file(completions / "backhaul.bash", "/usr/share/bash-completion/completions/backhaul"),
        _file(completions / "backhaul.fish", "/usr/share/fish/vendor_completions.d/backhaul.fish"),
        *(
            {**_file(completions / "_backhaul", f"{place}/_backhaul"), "packager": kind}
            for kind, place in zsh.items()
        ),
        *(_file(one, f"{MAN}/{one.name}") for one in _sorted(share / "man", "*.1")),
        *(_file(one, f"{DOC}/{one.name}") for one in _sorted(share / "doc", "*")),
        *(
            _file(one, f"{SHARE}/{kind}/{one.name}")
            for kind in ("grafana", "prometheus")
            for one in _sorted(share / kind, "*")
        ),
    ]
    for entry in entries:
        entry.setdefault("file_info", {})["mtime"] = time
    return entries


def _file(source: Path, target: str, mode: int = 0o644, kind: str = "") -> dict[str, Any]:
    entry: dict[str, Any] = {"src": str(source), "dst": target, "file_info": {"mode": mode}}
    return {**entry, "type": kind} if kind else entry


def _sorted(place: Path, *patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in place.glob(pattern))
