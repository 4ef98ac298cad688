"""The keys of receipts as files: one private key that signs, and every public key there ever was.

    DIRECTORY/signing.key   the private key, PKCS #8 in PEM, mode 0600
    DIRECTORY/KEYID.pem     a public key each, of this and of earlier private keys

The public key is written first and the private key appears by one rename, so there is at most one
private key at any time, and each one's public key is there. A key that was replaced or
retired exists no more: what it signed is still verified by its public key.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backhaul.access import is_there, refusal
from backhaul.adapters.system.ed25519 import SigningKey, VerifyingKey
from backhaul.adapters.system.trusted_files import check_private, check_trusted
from backhaul.core.errors import ConfigurationError, PermanentError

PRIVATE_NAME = "signing.key"
FILE_MAX_BYTES = 64 * 1024
FILES_MAX = 1000  # public keys of one directory
_WHAT = "the receipt key"
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True, kw_only=True)
class ReceiptKey:
    """One of the keys of a directory.

    Attributes:
        is_current: Its private key is there: it signs.
        path: Of its public key.
    """

    public: VerifyingKey
    is_current: bool
    path: Path


class ReceiptKeys:
    """The keys in a directory, which need not exist yet.

    Raises (any method):
        ConfigurationError: E_RECEIPT_KEY: a file cannot be read or written, or is no such key.
            E_CFG_PERMISSIONS: another user could have changed it, or read a private key.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._private = directory / PRIVATE_NAME

    def signing_key(self) -> SigningKey:
        """The private key.

        Raises:
            ConfigurationError: E_RECEIPT_NO_KEY.
        """
        check_private(self._private, _WHAT)
        content = _read(self._private)
        if content is None:
            raise self._none()
        try:
            return SigningKey.from_pem(content)
        except ValueError as exc:
            raise _unusable(self._private, str(exc)) from None

    def create(self) -> ReceiptKey:
        """Make the first key, or one after the last was retired.

        Raises:
            PermanentError: E_RECEIPT_KEY_EXISTS.
        """
        with self._writing():
            if is_there(self._private):
                raise PermanentError(
                    "E_RECEIPT_KEY_EXISTS",
                    f"there is a receipt key already: {self._private}",
                    hint="`backhaul receipt key rotate` replaces it; what it signed stays"
                    " verifiable",
                )
            return self._make()

    def create_first(self) -> ReceiptKey | None:
        """Make a key where there never was one.

        Returns:
            None: there is a key, or there was one and it was retired.
        """
        if is_there(self._private) or public_keys(self.directory):
            return None
        with self._writing():
            if is_there(self._private) or public_keys(self.directory):
                return None  # another command was first
            return self._make()

    def rotate(self) -> tuple[str, ReceiptKey]:
        """Replace the private key by a new one.

        Returns:
            The id of the old key, and the new key.

        Raises:
            ConfigurationError: E_RECEIPT_NO_KEY.
        """
        self.signing_key()  # before a directory is made for nothing
        with self._writing():
            old = self.signing_key().public
            self._write_public(old)  # if somebody removed it
            return old.id, self._make()

    def retire(self) -> ReceiptKey:
        """Remove the private key; nothing can be signed until the next one is made.

        Raises:
            ConfigurationError: E_RECEIPT_NO_KEY.
        """
        self.signing_key()
        with self._writing():
            old = self.signing_key().public
            path = self._write_public(old)
            self._private.unlink()
        return ReceiptKey(public=old, is_current=False, path=path)

    def all(self) -> list[ReceiptKey]:
        """The current one first, then by id; empty where there is no key yet."""
        current = None
        if is_there(self._private):
            current = self.signing_key().public.id
        found = [
            ReceiptKey(public=public, is_current=public.id == current, path=path)
            for path, public in public_keys(self.directory)
        ]
        return sorted(found, key=lambda one: (not one.is_current, one.public.id))

    def _make(self) -> ReceiptKey:
        key = SigningKey.make()
        path = self._write_public(key.public)
        self._write(self._private, key.pem(), 0o600)
        return ReceiptKey(public=key.public, is_current=True, path=path)

    def _write_public(self, key: VerifyingKey) -> Path:
        path = self.directory / f"{key.id}.pem"
        self._write(path, key.pem, 0o644)
        return path

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone in the directory, without what a killed process left; synced in the end."""
        with _os_errors(self.directory, "written"):
            # The ledger makes its directory in this way, too, where it comes first.
            self.directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.mkdir(mode=0o755, exist_ok=True)
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                for path in self.directory.glob(f"{_UNFINISHED}*"):
                    path.unlink()
                yield
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _write(self, path: Path, content: bytes, mode: int) -> None:
        """The whole file at once, on the disk before it has its name."""
        fresh = self.directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(fresh, flags, mode)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            os.fchmod(descriptor, mode)  # whatever the umask
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)

    def _none(self) -> ConfigurationError:
        return ConfigurationError(
            "E_RECEIPT_NO_KEY",
            f"there is no receipt key to sign with: {self._private} does not exist",
            hint="make one: backhaul receipt key create",
        )


def public_key(path: Path) -> VerifyingKey:
    """Of a file that is trusted.

    Raises:
        ConfigurationError: E_RECEIPT_KEY, E_CFG_PERMISSIONS.
    """
    check_trusted(path, "the public key")
    content = _read(path)
    if content is None:
        raise _unusable(path, "does not exist")
    try:
        return VerifyingKey.from_pem(content)
    except ValueError as exc:
        raise _unusable(path, str(exc)) from None


def public_keys(directory: Path) -> list[tuple[Path, VerifyingKey]]:
    """Of all files `*.pem` of a directory; empty where there is no directory.

    Raises:
        ConfigurationError: E_RECEIPT_KEY, E_CFG_PERMISSIONS.
    """
    with _os_errors(directory, "read"):
        there = directory.iterdir() if is_there(directory) else ()
        paths = sorted(path for path in there if path.suffix == ".pem")
    if len(paths) > FILES_MAX:
        raise _unusable(directory, f"has {len(paths):,} files *.pem, more than {FILES_MAX:,}")
    return [(path, public_key(path)) for path in paths]


def _read(path: Path) -> bytes | None:
    """None where it does not exist."""
    with _os_errors(path, "read"):
        try:
            with path.open("rb") as file:
                content = file.read(FILE_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
    if len(content) > FILE_MAX_BYTES:
        raise _unusable(path, f"is larger than {FILE_MAX_BYTES:,} B")
    return content


@contextlib.contextmanager
def _os_errors(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as exc:
        message, hint = refusal(path, verb)
        raise ConfigurationError("E_RECEIPT_KEY", f"{_WHAT}: {message}", hint=hint) from exc
    except OSError as exc:
        raise ConfigurationError(
            "E_RECEIPT_KEY",
            f"{_WHAT}: {exc.filename or path}: {exc.strerror}",
            hint="check that path and its disk; --keys DIR names another directory",
        ) from exc


def _unusable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        "E_RECEIPT_KEY",
        f"{path} {reason}",
        hint="an Ed25519 key in PEM is wanted: `backhaul receipt key show` prints the public one",
    )
