"""The example of a receipt in the manual: current, and good to programs that are not ours."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner
from cryptography.exceptions import InvalidSignature

from backhaul.cli import cli
from tests.docs.manual import REFERENCE, ROOT, fences

PAGE = REFERENCE / "receipt.md"
EXAMPLE = REFERENCE / "receipt-example.jsonl"
PUBLIC_KEY = REFERENCE / "receipt-example.pem"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_receipt_example", ROOT / "scripts" / "make_receipt_example.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_is_current() -> None:
    for name, content in _script().texts().items():
        found = (REFERENCE / name).read_bytes()
        assert found == content, "run: .venv/bin/python scripts/make_receipt_example.py"


def test_backhaul_verifies_the_example(tmp_path: Path) -> None:
    key = tmp_path / "example.pem"
    key.write_bytes(PUBLIC_KEY.read_bytes())
    key.chmod(0o644)
    words = ["receipt", "verify", str(EXAMPLE), "--public-key", str(key), "--offline", "--json"]
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert done.return_value == 0, done.exception
    total = json.loads(done.stdout)
    assert (total["objects"], total["proofs"]) == (2, {"direct": 2})
    assert datetime.fromisoformat(total["issued_at"]) < datetime.now(UTC)


def test_the_program_of_the_manual_verifies_it_and_finds_changes() -> None:
    (program,) = fences(PAGE, "python")
    names: dict[str, object] = {}
    exec(program, names)  # noqa: S102 - the manual's own
    check = names["check"]
    assert callable(check)
    content, key = EXAMPLE.read_bytes(), PUBLIC_KEY.read_bytes()
    assert check(content, key)["transfer"] == "0mh3k2v1x7q4b9"
    with pytest.raises(InvalidSignature):
        check(content.replace(b'"size":3,', b'"size":4,', 1), key)
    for old, new in ((b'"seq":0', b'"seq":9'), (b'"previous":""}', b'"previous":"0"}')):
        assert old in content
        with pytest.raises(ValueError, match="was changed"):
            check(content.replace(old, new), key)


def test_the_shell_commands_of_the_manual_verify_it(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    for file in (EXAMPLE, PUBLIC_KEY):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (program,) = fences(PAGE, "sh")

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    done = run()
    verdict, manifest, seal = done.stdout.splitlines()
    assert verdict == "Signature Verified Successfully", done.stderr
    first, *_, sealing, _ = EXAMPLE.read_bytes().splitlines()
    statement = json.loads(first)
    assert manifest.split()[0] == statement["manifest"]
    assert seal.split()[0] == statement["seal"] == hashlib.sha256(sealing).hexdigest()

    changed = EXAMPLE.read_bytes().replace(b'"clickstream"', b'"clockstream"', 1)
    (tmp_path / EXAMPLE.name).write_bytes(changed)
    assert "Failure" in run().stdout


def test_the_id_of_a_key_is_what_openssl_computes_by_the_manual(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    shutil.copy(PUBLIC_KEY, tmp_path / "backhaul.pem")
    (command,) = [
        line[2:]
        for block in fences(PAGE, "console")
        for line in block.splitlines()
        if line.startswith("$ openssl pkey ")
    ]
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    statement = json.loads(EXAMPLE.read_bytes().splitlines()[0])
    assert done.stdout.strip() == statement["key"]
