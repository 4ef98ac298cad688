"""Signature Version 4 of requests without a body, as `s3_get` sends them by the thousand.

botocore's own signer serves every service and kind of request, at eight times the CPU. This one is
held to it: same headers, same signature (`tests/unit/test_s3_sign.py`).

Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)".
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

_ALGORITHM = "AWS4-HMAC-SHA256"
_NO_BODY = hashlib.sha256(b"").hexdigest()
_UNSIGNED = frozenset({"user-agent"})


class Signer:
    """Signs for one service; safe to use from several threads."""

    def __init__(self, service: str = "s3") -> None:
        self._service = service
        # The newest key: it holds for a day, a region and a secret.
        self._key: tuple[tuple[str, str, str], bytes] = (("", "", ""), b"")

    def signed(
        self,
        method: str,
        host: str,
        target: str,
        headers: Mapping[str, str],
        credentials: ReadOnlyCredentials,
        region: str,
        now_s: float | None = None,
    ) -> dict[str, str]:
        """The headers with all that makes them a signed request.

        Args:
            host: With its port where that is not the scheme's own.
            target: Path and query, percent-encoded already; each parameter with its `=`, or none.
            now_s: Of the request; default: now.
        """
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        found = {
            "Host": host,
            **headers,
            "X-Amz-Date": moment,
            "X-Amz-Content-SHA256": _NO_BODY,
        }
        if credentials.token:
            found["X-Amz-Security-Token"] = credentials.token
        lowered = sorted((name.lower(), value) for name, value in found.items())
        counted = [(name, value) for name, value in lowered if name not in _UNSIGNED]
        names = ";".join([name for name, _ in counted])
        lines = "\n".join([f"{name}:{' '.join(value.split())}" for name, value in counted])
        path, _, query = target.partition("?")
        asked = f"{method}\n{path}\n{_canonical(query)}\n{lines}\n\n{names}\n{_NO_BODY}"
        scope = f"{moment[:8]}/{region}/{self._service}/aws4_request"
        digest = hashlib.sha256(asked.encode()).hexdigest()
        key = self._signing_key(str(credentials.secret_key), moment[:8], region)
        signature = _hmac(key, f"{_ALGORITHM}\n{moment}\n{scope}\n{digest}").hex()
        found["Authorization"] = (
            f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return found

    def _signing_key(self, secret: str, day: str, region: str) -> bytes:
        wanted = (secret, day, region)
        held, key = self._key
        if held != wanted:
            key = _hmac(f"AWS4{secret}".encode(), day)
            for part in (region, self._service, "aws4_request"):
                key = _hmac(key, part)
            self._key = (wanted, key)
        return key


def _canonical(query: str) -> str:
    """Parameters by name, each with its `=`."""
    if not query:
        return ""
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join([f"{name}={value}" for name, value in pairs])


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
