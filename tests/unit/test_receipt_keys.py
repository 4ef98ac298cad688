"""The files of the receipt keys: who may read them, and that none is ever half there."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from backhaul.adapters.system import receipt_keys
from backhaul.adapters.system.ed25519 import SigningKey, VerifyingKey
from backhaul.adapters.system.receipt_keys import ReceiptKeys, public_key, public_keys
from backhaul.core.errors import BackhaulError, ConfigurationError, PermanentError


@pytest.fixture
def keys(tmp_path: Path) -> ReceiptKeys:
    return ReceiptKeys(tmp_path / "keys")


def private(keys: ReceiptKeys) -> Path:
    return keys.directory / "signing.key"


def refused(call: Callable[[], object]) -> BackhaulError:
    with pytest.raises(BackhaulError) as caught:
        call()
    assert caught.value.hint
    return caught.value


def test_the_first_key_signs_and_its_public_key_is_beside_it(keys: ReceiptKeys) -> None:
    made = keys.create()
    signature = keys.signing_key().sign(b"data")
    assert public_key(made.path).verify(signature, b"data")
    assert not public_key(made.path).verify(signature, b"date")
    assert made.path == keys.directory / f"{made.public.id}.pem"
    assert [(one.public.id, one.is_current) for one in keys.all()] == [(made.public.id, True)]
    assert {path.name for path in keys.directory.iterdir()} == {"signing.key", made.path.name}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(keys: ReceiptKeys, umask: int) -> None:
    keys.directory.mkdir()
    before = os.umask(umask)
    try:
        made = keys.create()
    finally:
        os.umask(before)
    assert private(keys).stat().st_mode & 0o777 == 0o600
    assert made.path.stat().st_mode & 0o777 == 0o644


def test_the_directory_above_is_as_the_ledger_would_make_it(tmp_path: Path) -> None:
    ReceiptKeys(tmp_path / "state" / "receipt-keys").create()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_the_id_is_of_the_raw_key() -> None:
    """RFC 8032, 7.1, test 1."""
    seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    raw = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    key = SigningKey.from_seed(bytes.fromhex(seed))
    assert key.public.id == hashlib.sha256(bytes.fromhex(raw)).hexdigest()[:32]
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974")


def test_there_is_no_key_before_it_is_made(keys: ReceiptKeys) -> None:
    for call in (keys.signing_key, keys.rotate, keys.retire):
        error = refused(call)
        assert (error.code, error.exit_code) == ("E_RECEIPT_NO_KEY", 78)
        assert "backhaul receipt key create" in error.hint
    assert keys.all() == []
    assert not keys.directory.exists()


def test_a_second_key_is_not_made_by_accident(keys: ReceiptKeys) -> None:
    made = keys.create()
    content = private(keys).read_bytes()
    error = refused(keys.create)
    assert isinstance(error, PermanentError)
    assert error.code == "E_RECEIPT_KEY_EXISTS"
    assert private(keys).read_bytes() == content
    assert [one.public.id for one in keys.all()] == [made.public.id]


def test_rotation_keeps_public_keys_and_no_private_one(keys: ReceiptKeys) -> None:
    first = keys.create()
    signature = keys.signing_key().sign(b"data")
    old = private(keys).read_bytes()
    old_id, second = keys.rotate()
    assert old_id == first.public.id != second.public.id
    assert public_key(first.path).verify(signature, b"data")
    assert {one.public.id: one.is_current for one in keys.all()} == {
        first.public.id: False,
        second.public.id: True,
    }
    assert keys.all()[0].is_current, "the current one first"
    assert all(old not in path.read_bytes() for path in keys.directory.iterdir())


def test_a_retired_key_signs_no_more_and_another_may_be_made(keys: ReceiptKeys) -> None:
    first = keys.create()
    signature = keys.signing_key().sign(b"data")
    assert not keys.retire().is_current
    assert refused(keys.signing_key).code == "E_RECEIPT_NO_KEY"
    (only,) = keys.all()
    assert (only.public.id, only.is_current) == (first.public.id, False)
    assert only.public.verify(signature, b"data")
    assert not private(keys).exists()
    assert keys.create().public.id != first.public.id
    assert len(keys.all()) == 2


def test_a_lost_public_key_is_written_again(keys: ReceiptKeys) -> None:
    made = keys.create()
    made.path.unlink()
    keys.retire()
    assert public_key(made.path).id == made.public.id


def test_what_a_killed_process_left_is_removed(keys: ReceiptKeys) -> None:
    keys.create()
    left = keys.directory / ".unfinished-0123456789abcdef"
    left.write_bytes(private(keys).read_bytes())
    keys.retire()
    assert not left.exists(), "a copy of a private key"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610, 0o644])
def test_a_private_key_that_others_may_open_is_refused(keys: ReceiptKeys, mode: int) -> None:
    keys.create()
    private(keys).chmod(mode)
    error = refused(keys.signing_key)
    assert (error.code, error.exit_code) == ("E_CFG_PERMISSIONS", 78)
    assert f"{mode:04o}" in error.message
    assert "chmod 0600" in error.hint
    assert refused(keys.rotate).code == "E_CFG_PERMISSIONS"
    assert refused(keys.retire).code == "E_CFG_PERMISSIONS"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_keys_of_another_user_are_refused(keys: ReceiptKeys) -> None:
    made = keys.create()
    os.chown(private(keys), 12345, -1)
    error = refused(keys.signing_key)
    assert error.code == "E_CFG_PERMISSIONS"
    assert "sudo -u 12345 backhaul" in error.hint
    os.chown(made.path, 12345, -1)
    assert refused(lambda: public_key(made.path)).code == "E_CFG_PERMISSIONS"


def test_a_public_key_that_others_may_write_is_refused(keys: ReceiptKeys) -> None:
    made = keys.create()
    made.path.chmod(0o666)
    assert refused(lambda: public_key(made.path)).code == "E_CFG_PERMISSIONS"
    assert refused(lambda: public_keys(keys.directory)).code == "E_CFG_PERMISSIONS"


def test_a_directory_that_everybody_may_write_is_refused(keys: ReceiptKeys) -> None:
    keys.create()
    keys.directory.chmod(0o777)
    assert refused(keys.signing_key).code == "E_CFG_PERMISSIONS"


def pem(key: object, password: bytes | None = None) -> bytes:
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)  # type: ignore[attr-defined, no-any-return]


def public_pem(key: object) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]


OTHERS = [
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP256R1()),
    ed448.Ed448PrivateKey.generate(),
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda one: type(one).__name__)
def test_a_key_of_another_algorithm_is_none(keys: ReceiptKeys, other: object) -> None:
    keys.create()
    private(keys).write_bytes(pem(other))
    error = refused(keys.signing_key)
    assert error.code == "E_RECEIPT_KEY"
    assert "another algorithm" in error.message
    with pytest.raises(ValueError, match="another algorithm"):
        VerifyingKey.from_pem(public_pem(other))


def test_what_is_no_key_is_refused_and_not_shown(keys: ReceiptKeys) -> None:
    keys.create()
    good = private(keys).read_bytes()
    loaded = load_pem_private_key(good, None)
    for content in (
        b"",
        b"nonsense with a secret in it",
        good[: len(good) // 2],
        pem(loaded, b"password"),
        b"x" * 70_000,
    ):
        private(keys).write_bytes(content)
        error = refused(keys.signing_key)
        assert (error.code, error.exit_code) == ("E_RECEIPT_KEY", 78)
        assert "secret" not in error.message
        assert "BEGIN" not in str(error)
    private(keys).unlink()
    private(keys).mkdir(0o600)
    assert refused(keys.signing_key).code == "E_RECEIPT_KEY"


def test_a_private_key_in_place_of_a_public_one_is_named(tmp_path: Path, keys: ReceiptKeys) -> None:
    keys.create()
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(private(keys).read_bytes())
    wrong.chmod(0o600)
    error = refused(lambda: public_key(wrong))
    assert "is a private key" in error.message
    assert wrong.read_text().splitlines()[1] not in f"{error} {error.hint}"
    wrong.write_bytes(b"nothing")
    assert "is no public key" in refused(lambda: public_key(wrong)).message
    wrong.unlink()
    assert "does not exist" in refused(lambda: public_key(wrong)).message


def test_a_directory_that_cannot_be_made_or_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    error = refused(ReceiptKeys(tmp_path / "file" / "keys").create)
    assert isinstance(error, ConfigurationError)
    assert error.code == "E_RECEIPT_KEY"
    assert f"{tmp_path / 'file'}: File exists" in error.message


def test_a_directory_of_very_many_keys_is_refused(
    keys: ReceiptKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.create()
    keys.rotate()
    monkeypatch.setattr(receipt_keys, "FILES_MAX", 1)
    assert "more than 1" in refused(keys.all).message


def test_the_private_key_is_in_no_text_of_its_objects(keys: ReceiptKeys) -> None:
    keys.create()
    key = keys.signing_key()
    body = "".join(private(keys).read_text().splitlines()[1:-1])
    assert body not in repr(key)
    assert "Ed25519PrivateKey" not in repr(key)


def test_openssl_reads_both_files(keys: ReceiptKeys, tmp_path: Path) -> None:
    """Debian's, where it is there: the manual shows these commands."""
    openssl = "/usr/bin/openssl"
    if not Path(openssl).exists():
        pytest.skip("no openssl")
    made = keys.create()
    data, signature = tmp_path / "data", tmp_path / "signature"
    data.write_bytes(b"data")
    signature.write_bytes(keys.signing_key().sign(b"data"))
    verify = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", str(made.path)]
    verify += ["-rawin", "-in", str(data), "-sigfile", str(signature)]
    assert subprocess.run(verify, check=True, capture_output=True).stdout
    public = [openssl, "pkey", "-in", str(private(keys)), "-pubout"]
    shown = subprocess.run(public, check=True, capture_output=True).stdout
    assert shown == made.path.read_bytes()
