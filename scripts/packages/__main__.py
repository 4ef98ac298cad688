"""`python -m scripts.packages --wheel WHEEL --sbom FILE --out DIR`; `./dev package` calls it."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from scripts.packages import bundle, native, papers, tree, wheelhouse
from scripts.packages.release import ROOT, Release, this_machine


def main() -> None:
    """Make all three, and `SHA256SUMS` beside them."""
    parser = argparse.ArgumentParser(prog="./dev package", description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True, help="Backhaul's own")
    parser.add_argument("--sbom", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="where wheels are kept")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    version = options.wheel.name.split("-")[1]
    release = Release(version=version, epoch_s=_epoch_s(), machine=this_machine())
    wheels = wheelhouse.fetch(options.cache / "runtime", release.machine)
    pip = wheelhouse.fetch_pip(options.cache / "pip")
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="packages-", dir=options.out.parent) as scratch:
        work = Path(scratch)
        tree.build(work / "tree", wheels, options.wheel)
        tree.normalise(work / "tree", release.epoch_s)
        papers.write(work / "share", work / "tree", options.sbom)
        tree.normalise(work / "share", release.epoch_s)
        release_id = f"{release.version}-{tree.digest(work / 'tree')}"
        made = native.build(work, options.out, release, release_id)
        made.append(bundle.build(work, options.out, release, wheels, own=options.wheel, pip=pip))
    sums = "".join(f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}\n" for one in made)
    (options.out / "SHA256SUMS").write_text(sums, "utf-8")


def _epoch_s() -> int:
    """SOURCE_DATE_EPOCH, otherwise the time of the commit.

    Raises:
        SystemExit: Neither is known, as in an unpacked archive of the source.
    """
    if (given := os.environ.get("SOURCE_DATE_EPOCH", "")).isdecimal():
        return int(given)
    found = subprocess.run(
        ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        raise SystemExit("no commit gives the time of the files: set SOURCE_DATE_EPOCH to it")
    return int(found.stdout)


if __name__ == "__main__":
    main()
