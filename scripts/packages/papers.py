"""What stands beside the program: completions, man pages, licences, bill of materials."""

from __future__ import annotations

import email
import email.message
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.packages.release import PYTHONS, ROOT

# What a project states in its repository, and not in its wheel.
STATED_ELSEWHERE = {"hdfs-native": "Apache-2.0"}
MINE = "%d.%d" % sys.version_info[:2]  # noqa: UP031 - one look at both numbers


def write(share: Path, tree: Path, sbom: Path) -> None:
    """All of them, below `share`, from what is in `tree`.

    Raises:
        SystemExit: This Python is none of those that the tree serves.
    """
    if MINE not in PYTHONS:
        raise SystemExit(f"build with one of Python {', '.join(PYTHONS)}, not {MINE}")
    for script, place in (("make_completions", "completions"), ("make_man_pages", "man")):
        _generate(script, share / place, tree)
    doc = share / "doc"
    doc.mkdir(parents=True)
    for name in ("LICENSE", "NOTICE", "CHANGELOG.md"):
        shutil.copyfile(ROOT / name, doc / name)
    shutil.copyfile(sbom, doc / "sbom.json")
    (doc / "THIRD-PARTY.txt").write_text("\n".join(_third_parties(tree)) + "\n", "utf-8")
    (doc / "copyright").write_text(_copyright(), "utf-8")
    for name in ("systemd", "grafana", "prometheus"):
        shutil.copytree(ROOT / "packaging" / name, share / name)


def _generate(script: str, into: Path, tree: Path) -> None:
    # With the packages that are shipped, so that the texts are those of the program.
    library = tree / "lib"
    path = [library / f"python{MINE}" / "site-packages", library / "shared"]
    subprocess.run(
        [sys.executable, "-B", str(ROOT / "scripts" / f"{script}.py"), str(into)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "HOME": "/nonexistent"},
        check=True,
        stdin=subprocess.DEVNULL,
    )


def _copyright() -> str:
    return "\n".join(
        [
            "Backhaul",
            "",
            (ROOT / "NOTICE").read_text("utf-8").partition("\n")[2].strip(),
            "",
            "The libraries beside it are the work of others: see THIRD-PARTY.txt.",
            "",
            (ROOT / "LICENSE").read_text("utf-8"),
        ]
    )


def _third_parties(tree: Path) -> Iterator[str]:
    """Each library with its licence, and where its text is."""
    yield "Libraries in this package. The path of each licence is below the directory `lib`, which"
    yield "`ls -d /opt/backhaul/package/lib` shows; in the offline bundle they are in the wheels."
    shared = tree / "lib" / "shared"
    places = [shared, tree / "lib" / f"python{PYTHONS[0]}" / "site-packages"]
    metadata = [one for place in places for one in place.glob("*.dist-info/METADATA")]
    for path in sorted(metadata, key=lambda one: one.parent.name.lower()):
        fields = email.message_from_string(path.read_text("utf-8").partition("\n\n")[0])
        if fields["Name"] == "backhaul":
            continue
        yield ""
        yield f"{fields['Name']} {fields['Version']}: {_licence(fields)}"
        for text in sorted(path.parent.rglob("*")):
            if text.is_file() and text.name.lower().startswith(("licen", "copying", "notice")):
                yield f"  {text.relative_to(tree / 'lib')}"


def _licence(fields: email.message.Message) -> str:
    classifiers = [
        one.rpartition(" :: ")[2]
        for one in fields.get_all("Classifier", [])
        if one.startswith("License ::")
    ]
    stated = fields["License-Expression"] or "; ".join(classifiers) or fields["License"]
    found = stated or STATED_ELSEWHERE.get(str(fields["Name"])) or "not stated"
    return " ".join(str(found).split())[:120]
