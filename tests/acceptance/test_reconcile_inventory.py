"""`backhaul reconcile --inventory` as an operator runs it: a report in a bucket, and on disk."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.installation import REGION, Ended, Installation, eventually
from tests.inventories import MANIFEST, Report, report, row

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def taken_of(at: Installation, age: timedelta, *, without: str = "") -> Report:
    """A report of the bucket as it is, as old as that."""
    taken_at = datetime.now(UTC) - age
    rows = []
    for one in at.s3.list_objects_v2(Bucket=at.bucket)["Contents"]:
        if one["Key"] != without:
            changed = {"Bucket": at.bucket, "LastModifiedDate": one["LastModified"].isoformat()}
            rows.append(row(one["Key"], one["Size"], one["ETag"].strip('"'), **changed))
    return report(
        rows[1::2],
        rows[::2],
        sourceBucket=at.bucket,
        creationTimestamp=str(int(taken_at.timestamp() * 1000)),
    )


def configured(at: Installation) -> tuple[str, str]:
    """One route, `r`."""
    config = at.home / "backhaul.toml"
    config.write_text(
        f'[[route]]\nname = "r"\nsource = ["s3://{at.bucket}/in/"]\n'
        f'destination = ["{at.landing.uri}/"]\n'
        f'event_destination = "{at.landing.uri}/{{rel_dir}}/"\n',
        "utf-8",
    )
    return "--config", str(config)


def reconcile(at: Installation, where: str | Path, *arguments: str) -> Ended:
    return at.backhaul(
        *("reconcile", "r", "--inventory", str(where), "--settle", "1"),
        *(*configured(at), "--region", REGION, *arguments),
    )


@pytest.fixture
def brought(local: Installation) -> Installation:
    """Three objects arrived, one did not."""
    for name in ("a", "b", "sub/c"):
        local.put(f"in/{name}", name.encode())
    local.ask_for("in/")
    assert local.drain(*configured(local)).code == 0
    local.put("in/d", b"never sent")
    local.put("elsewhere", b"not of the route")
    settled = datetime.now(UTC) + timedelta(seconds=1)
    eventually(lambda: datetime.now(UTC) > settled)
    return local


def classes(ended: Ended) -> dict[str, str]:
    lines = [json.loads(line) for line in ended.out.splitlines()]
    return {line["target"].rpartition("/")[2]: line["class"] for line in lines}


def test_findings_are_those_of_a_listing(brought: Installation, tmp_path: Path) -> None:
    path = taken_of(brought, timedelta(0)).write(tmp_path)
    ended = reconcile(brought, path, "--json")
    assert ended.code == 65, ended
    assert classes(ended) == {"a": "same", "b": "same", "c": "same", "d": "missing"}
    assert ended.err == ""


def test_a_report_in_a_bucket_is_read(brought: Installation) -> None:
    for key, content in taken_of(brought, timedelta(0)).contents().items():
        brought.put(key, content)
    ended = reconcile(brought, brought.uri(MANIFEST))
    assert ended.code == 65, ended
    assert f"inventory  {brought.uri(MANIFEST)}" in ended.out
    assert "missing" in ended.out


def test_an_old_report_warns_and_finds_nothing_wrong(brought: Installation, tmp_path: Path) -> None:
    path = taken_of(brought, timedelta(days=20), without="in/b").write(tmp_path)
    brought.s3.delete_object(Bucket=brought.bucket, Key="in/d")
    ended = reconcile(brought, path, "--json")
    assert ended.code == 0, ended
    assert classes(ended) == {"a": "same", "b": "too young", "c": "same"}
    assert "warning" in ended.err


def test_a_bad_report_is_one_clear_line(brought: Installation, tmp_path: Path) -> None:
    path = taken_of(brought, timedelta(0)).write(tmp_path)
    path.with_name("manifest.checksum").write_text("0" * 32)
    ended = reconcile(brought, path)
    assert (ended.code, ended.out) == (64, "")
    first, _, rest = ended.err.partition("\n")
    assert "E_INVENTORY_CHECKSUM" in first
    assert rest.strip().startswith("hint: ")
