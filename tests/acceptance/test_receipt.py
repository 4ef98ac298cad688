"""Receipts as an operator issues them and an auditor checks them, on real S3 servers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import PROGRAM, Ended, Installation
from tests.acceptance.proxy import Answer, Proxy

pytestmark = pytest.mark.integration
FILES = {"a": b"aaa", "b/c": b"", "é + %": b"x" * 70_000}


def issued(it: Installation, **more: Any) -> Path:
    """The receipt of a transfer of FILES, and its public key as `backhaul.pem` beside it."""
    for name, content in FILES.items():
        it.put(f"p/{name}", content, **more)
    it.ask_for("p/", "out")
    it.drained()
    assert it.backhaul("receipt", "key", "create").code == 0
    (row,) = it.history()
    receipt = it.home / "receipt.jsonl"
    done = it.backhaul("receipt", row["id"])
    assert done.code == 0, done
    receipt.write_text(done.out, "utf-8")
    (it.home / "backhaul.pem").write_text(it.backhaul("receipt", "key", "show").out, "utf-8")
    return receipt


@pytest.fixture
def auditor(tmp_path: Path) -> Callable[..., Ended]:
    """`verify` by somebody with the file, the public key and S3: no ledger, nothing of HOME."""
    home = tmp_path / "auditor"
    home.mkdir()

    def verify(it: Installation, receipt: Path, *arguments: str) -> Ended:
        key = home / "trusted.pem"
        key.write_bytes((it.home / "backhaul.pem").read_bytes())
        key.chmod(0o644)
        kept = {
            name: value
            for name, value in it.environment.items()
            if name.startswith("AWS_") or name.lower() in {"no_proxy", "path", "pythonpath"}
        }
        done = subprocess.run(
            [*PROGRAM, "receipt", "verify", str(receipt), "--public-key", str(key), *arguments],
            env={"PATH": os.environ["PATH"], **kept, "HOME": str(home)},
            capture_output=True,
            cwd=home,
            check=False,
            timeout=100,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        return Ended(code=done.returncode, out=out, err=err, seconds=0)

    return verify


def verdicts(done: Ended) -> tuple[dict[str, str], dict[str, Any]]:
    """Key to verdict, and the sum."""
    *objects, total = (json.loads(line) for line in done.out.splitlines())
    return {one["key"].removeprefix("p/"): one["verdict"] for one in objects}, total


def versioned(it: Installation) -> None:
    it.s3.put_bucket_versioning(Bucket=it.bucket, VersioningConfiguration={"Status": "Enabled"})


@pytest.mark.parametrize("algorithm", ["CRC32C", "SHA256"])
def test_an_auditor_with_the_file_the_key_and_s3_finds_it_true(
    local: Installation, auditor: Callable[..., Ended], algorithm: str
) -> None:
    receipt = issued(local, ChecksumAlgorithm=algorithm)
    done = auditor(local, receipt, "--json")
    assert done.code == 0, done
    found, total = verdicts(done)
    assert found == {}
    assert (total["objects"], total["size"], total["verdicts"]) == (3, 70_003, {"same": 3})
    text = auditor(local, receipt)
    assert text.code == 0
    assert "signature, object lines and seal are as they were signed" in text.out
    assert auditor(local, receipt, "--offline").code == 0


def test_in_a_bucket_with_versions_only_the_version_counts(
    on_moto: Installation, auditor: Callable[..., Ended]
) -> None:
    it = on_moto
    versioned(it)
    receipt = issued(it, ChecksumAlgorithm="CRC32C")
    lines = [json.loads(line) for line in receipt.read_text("utf-8").splitlines()]
    assert all(line["version_id"] for line in lines if line["kind"] == "object")
    it.put("p/a", b"newer")
    it.s3.delete_object(Bucket=it.bucket, Key="p/b/c")  # a delete marker
    done = auditor(it, receipt, "--json")
    assert done.code == 0, done
    found, total = verdicts(done)
    assert (found, total["by_version"], total["by_checksum"]) == ({}, 3, 3)

    version = next(line["version_id"] for line in lines if line.get("key") == "p/é + %")
    it.s3.delete_object(Bucket=it.bucket, Key="p/é + %", VersionId=version)
    done = auditor(it, receipt, "--json")
    assert (done.code, verdicts(done)[0]) == (65, {"é + %": "gone"})
    assert "this version was deleted since" in done.out


def test_without_versions_what_was_overwritten_or_deleted_is_found(
    local: Installation, auditor: Callable[..., Ended]
) -> None:
    it = local
    receipt = issued(it)
    it.put("p/a", b"bbb")
    it.s3.delete_object(Bucket=it.bucket, Key="p/é + %")
    done = auditor(it, receipt, "--json")
    assert (done.code, verdicts(done)[0]) == (65, {"a": "overwritten", "é + %": "gone"})
    text = auditor(it, receipt)
    assert text.code == 65
    assert "not true any more: 2 findings" in text.out


def test_versions_that_came_later_keep_what_was_there(
    on_moto: Installation, auditor: Callable[..., Ended]
) -> None:
    it = on_moto
    receipt = issued(it)
    versioned(it)
    it.put("p/a", b"newer")
    done = auditor(it, receipt, "--json")
    assert (done.code, verdicts(done)[0]) == (0, {}), done


def test_a_bucket_that_is_gone_is_65_and_an_s3_that_is_down_69(
    local: Installation, auditor: Callable[..., Ended]
) -> None:
    it = local
    receipt = issued(it)
    endpoint = it.environment["AWS_ENDPOINT_URL_S3"]
    it.environment["AWS_ENDPOINT_URL_S3"] = "http://127.0.0.1:9"
    down = auditor(it, receipt)
    assert down.code == 69, down
    assert down.err.startswith("backhaul: E_S3_UNREACHABLE: ")
    it.environment["AWS_ENDPOINT_URL_S3"] = endpoint
    for name in FILES:
        it.s3.delete_object(Bucket=it.bucket, Key=f"p/{name}")
    it.s3.delete_bucket(Bucket=it.bucket)
    gone = auditor(it, receipt)
    assert gone.code == 65, gone
    assert gone.err.startswith("backhaul: E_SRC_NO_BUCKET: ")
    it.s3.create_bucket(Bucket=it.bucket)


def test_a_server_that_fails_now_and_then_makes_no_finding(
    behind_proxy: Installation, s3_proxy: Proxy, auditor: Callable[..., Ended]
) -> None:
    it = behind_proxy
    receipt = issued(it)

    def falter(answer: Answer) -> None:
        answer.status, answer.body = 503, b""

    rule = s3_proxy.lie(
        falter, to=lambda seen: seen.method == "HEAD" and "/p/" in seen.path, times=5
    )
    done = auditor(it, receipt, "--json")
    assert (done.code, verdicts(done)[0]) == (0, {}), done
    assert rule.used == 5


def test_a_receipt_that_was_changed_is_refused(
    local: Installation, auditor: Callable[..., Ended]
) -> None:
    receipt = issued(local)
    good = receipt.read_bytes()
    for changed, code in (
        (good.replace(b'"size":70003', b'"size":70004', 1), "E_RECEIPT_SIGNATURE"),
        (good.replace(b'"etag":"', b'"etag":"0', 1), "E_RECEIPT_DIGEST"),
        (good[:-40], "E_RECEIPT_FORM"),
        (good.replace(b"\n", b"\r\n"), "E_RECEIPT_"),
        (good + good, "E_RECEIPT_FORM"),
    ):
        receipt.write_bytes(changed)
        done = auditor(local, receipt)
        assert done.code == 65, done
        assert done.err.startswith(f"backhaul: {code}")
        assert done.out == ""


def test_keys_are_of_their_owner_and_rotate(
    local: Installation, auditor: Callable[..., Ended]
) -> None:
    it = local
    receipt = issued(it)
    (private,) = it.home.rglob("signing.key")
    assert private.stat().st_mode & 0o777 == 0o600
    secret = private.read_text("ascii").splitlines()[1]
    assert it.backhaul("receipt", "key", "rotate").code == 0
    assert auditor(it, receipt).code == 0, "by its own public key, which it has"
    (row,) = it.history()
    newer = it.home / "newer.jsonl"
    newer.write_text(it.backhaul("receipt", row["id"]).out, "utf-8")
    unknown = auditor(it, newer)
    assert unknown.code == 65
    assert "E_RECEIPT_KEY_UNKNOWN" in unknown.err
    assert "backhaul receipt key show" in unknown.err
    assert it.backhaul("receipt", "verify", str(receipt)).code == 0, (
        "all keys are beside the ledger"
    )

    private.chmod(0o640)
    refused = it.backhaul("receipt", row["id"])
    assert (refused.code, refused.out) == (78, "")
    assert refused.err.startswith("backhaul: E_CFG_PERMISSIONS: ")
    private.chmod(0o600)
    everything = b"".join(path.read_bytes() for path in it.home.rglob("*") if path.is_file())
    assert everything.count(secret.encode()) == 0, "the old private key is nowhere"


def test_a_transfer_without_end_is_refused_in_one_line_and_the_first_receipt_makes_a_key(
    local: Installation,
) -> None:
    it = local
    it.put("p/a", b"a")
    it.ask_for("p/", "out")
    it.ask_for("missing/", "out2")
    it.drained()
    rows = {row["state"]: row["id"] for row in it.history()}
    done = it.backhaul("receipt", rows["done"])
    assert done.code == 0
    assert done.err.startswith("made the receipt key ")
    shown = it.backhaul("receipt", "key", "show")
    assert shown.code == 0
    assert shown.out.startswith("-----BEGIN PUBLIC KEY-----")
    dead = it.backhaul("receipt", rows["dead"])
    assert (dead.code, dead.out) == (65, "")
    assert dead.err.startswith("backhaul: E_RECEIPT_NOT_DONE: ")
    assert "E_SRC_EMPTY" in dead.err
