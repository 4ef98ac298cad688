"""Ed25519 keys: made, read from PEM, and used. No private key is ever shown.

Source: RFC 8032 (Ed25519), RFC 8410 (its keys in PKCS #8 and SubjectPublicKeyInfo).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

KEY_ID_DIGITS = 32
_PRIVATE = b"PRIVATE KEY-----"


@dataclass(frozen=True, kw_only=True)
class VerifyingKey:
    """A public key.

    Attributes:
        id: The first 32 hex digits of the SHA-256 of its 32 bytes.
        pem: As SubjectPublicKeyInfo.
    """

    id: str
    pem: bytes
    _key: Ed25519PublicKey = field(repr=False)

    @classmethod
    def of(cls, key: Ed25519PublicKey) -> VerifyingKey:
        """With its id."""
        raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return cls(
            id=hashlib.sha256(raw).hexdigest()[:KEY_ID_DIGITS],
            pem=key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            _key=key,
        )

    @classmethod
    def from_pem(cls, pem: bytes) -> VerifyingKey:
        """Of a public key.

        Raises:
            ValueError: It is none, in words that quote nothing of it.
        """
        if _PRIVATE in pem:
            raise ValueError("is a private key, and its public key is wanted")
        try:
            key = load_pem_public_key(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("is no public key in PEM") from None
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("is a public key of another algorithm than Ed25519")  # noqa: TRY004 - of a file's content
        return cls.of(key)

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether this key signed exactly these bytes."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A private key; its value is in no text of this class."""

    public: VerifyingKey
    _key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def make(cls) -> SigningKey:
        """A new one."""
        return cls._of(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """Of the 32 bytes that RFC 8032 calls the private key."""
        return cls._of(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """Of PKCS #8 without a password.

        Raises:
            ValueError: It is none, in words that quote nothing of it.
        """
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("is no private key in PEM without a password") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("is a private key of another algorithm than Ed25519")  # noqa: TRY004 - of a file's content
        return cls._of(key)

    @classmethod
    def _of(cls, key: Ed25519PrivateKey) -> SigningKey:
        return cls(public=VerifyingKey.of(key.public_key()), _key=key)

    def pem(self) -> bytes:
        """For the file that keeps it, and for nothing else."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, data: bytes) -> bytes:
        """64 bytes; the same for the same data."""
        return self._key.sign(data)
