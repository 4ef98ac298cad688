"""Replies by a webhook: one POST of JSON, signed, to the one address that was checked.

The name is resolved once, every address of it is judged (`core.replies.webhook`), and the
connection goes to one of these: a second answer of DNS changes nothing. Redirects are answers like
any other, no proxy is used, and time and bytes have a limit, whatever the other side does.

Source: RFC 9110 (Retry-After, status codes), RFC 2104 (HMAC).
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
import time
from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from backhaul import __version__
from backhaul.adapters.reply.bounded import (
    BoundedSocket,
    ForbiddenAddress,
    connect,
)
from backhaul.core.errors import BackhaulError, PermanentError, TransientError
from backhaul.core.replies.reply import Reply
from backhaul.core.replies.secret_values import SecretValues
from backhaul.core.replies.webhook import WebhookUrl
from backhaul.core.text import excerpt, shown
from backhaul.deadline import Deadline

_BODY_MOST = 1024  # bytes of an answer that are read
_WAIT_LEAST_S, _WAIT_MOST_S = 1.0, 3600.0
_LATER = frozenset({408, 425, 429})
_SERVER_ERROR = 500
_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)
_UNAUTHORISED = frozenset({401, 403})
_REACHED = frozenset(range(200, 500)) - {*_REDIRECT, *_LATER, *_UNAUTHORISED}
_FIXES = {
    401: "check secret_file: it has to hold the key that the receiver checks with",
    403: "check secret_file: it has to hold the key that the receiver checks with",
    404: "check the path of the URL",
    405: "check the path of the URL: it has to take POST",
    410: "the receiver is gone: correct the URL, or take this reply out of the routes",
    413: "let the receiver take bodies of 64 KiB",
    415: "let the receiver take application/json",
}


class WebhookTarget:
    """Implements `core.ports.replies.ReplyTarget`.

    Args:
        secret: Signs each reply; None: they are not signed.
        ca_file: Certificates of authorities, instead of the system's.
        limit_s: Of one try, from the first query of DNS to the last byte.
        body_of: What is posted of a reply; the same bytes at each delivery.
        api_key: Sent as a bearer's token, for receivers that know no signature.
        now: For the time stamp and `Retry-After`.

    Raises:
        OSError, ssl.SSLError: `ca_file` cannot be read, or holds no certificate.
    """

    def __init__(
        self,
        name: str,
        url: WebhookUrl,
        *,
        secret: bytes | None,
        ca_file: Path | None,
        limit_s: float,
        body_of: Callable[[Reply], bytes] = lambda reply: reply.body().encode("ascii"),
        api_key: bytes | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._where = f"reply {name}: {url.origin}"
        self._url = url
        self._secret = secret
        self._limit_s = limit_s
        self._body_of = body_of
        self._api_key = api_key
        self._now = now
        self._tls = None
        if url.scheme == "https":
            self._tls = ssl.create_default_context(cafile=ca_file and str(ca_file))

    def deliver(self, reply: Reply) -> None:
        """See the port. Any status of 200 to 299: it has it.

        Raises:
            PermanentError: E_REPLY_REFUSED, E_REPLY_REDIRECT; E_REPLY_ADDRESS: the name leads to
                an address that no name may lead to.
            TransientError: E_REPLY_SERVER, E_REPLY_UNREACHABLE, E_REPLY_TLS, E_REPLY_TIMEOUT.
        """
        body = self.body(reply)
        self._exchange("POST", body, self.headers(reply.key, body), _SUCCESS)

    def body(self, reply: Reply) -> bytes:
        """What is posted of it."""
        return self._body_of(reply)

    def probe_key(self) -> int:
        """A GET, which leaves nothing there: whether the server refuses this key.

        Another answer does not prove that a POST is taken: a server may look for the path, or know
        no GET, before it looks at the key.

        Returns:
            The status that it answered: 200 to 499, without those that are errors here.

        Raises:
            PermanentError, TransientError: As `deliver`.
        """
        headers = {"Host": self._url.authority, "Connection": "close", **self._own_headers()}
        return self._exchange("GET", None, headers, _REACHED)

    def _exchange(
        self,
        method: str,
        body: bytes | None,
        headers: Mapping[str, str],
        accepted: Container[int],
    ) -> int:
        deadline = Deadline(self._limit_s)
        connection = self._connected(deadline)
        try:
            answer = self._answered(connection, method, body, headers, accepted)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise self._not_answered(exc, deadline) from exc
        finally:
            connection.end()
        if isinstance(answer, BackhaulError):
            raise answer
        return answer

    def probe(self) -> None:
        """Connect, look at the certificate, and send nothing.

        Raises:
            PermanentError: E_REPLY_ADDRESS.
            TransientError: E_REPLY_UNREACHABLE, E_REPLY_TLS, E_REPLY_TIMEOUT.
        """
        self._connected(Deadline(self._limit_s)).end()

    def _connected(self, deadline: Deadline) -> BoundedSocket:
        try:
            return connect(self._url, self._tls, deadline)
        except ForbiddenAddress as exc:
            raise PermanentError(
                "E_REPLY_ADDRESS",
                f"{self._where}: its name leads to {exc}, which no name may lead to",
                hint="correct the name in DNS; where it is meant, write the address into the URL",
            ) from exc
        except OSError as exc:
            raise self._not_connected(exc, deadline) from exc

    def headers(self, key: str, body: bytes) -> dict[str, str]:
        """All headers of this body at this moment; a signature only where there is a secret."""
        stamp = str(int(self._now()))
        found = {
            "Host": self._url.authority,
            "Content-Type": "application/json",
            "Backhaul-Key": key,
            "Idempotency-Key": key,
            "Backhaul-Timestamp": stamp,
            "Connection": "close",
            **self._own_headers(),
        }
        if self._secret is not None:
            found["Backhaul-Signature"] = f"v1={signature(self._secret, stamp, body)}"
        return found

    def _own_headers(self) -> dict[str, str]:
        """Who calls."""
        found = {"User-Agent": f"backhaul/{__version__}"}
        if self._api_key is not None:
            found["Authorization"] = f"Bearer {self._api_key.decode()}"
        return found

    def _answered(
        self,
        connection: BoundedSocket,
        method: str,
        body: bytes | None,
        headers: Mapping[str, str],
        accepted: Container[int],
    ) -> int | BackhaulError:
        """Its status, if that is one of those accepted; else what it means."""
        client = http.client.HTTPConnection(self._url.host, self._url.port)
        client.auto_open = 0
        client.sock = connection
        client.request(method, self._url.target, body=body, headers=dict(headers))
        answer = client.getresponse()
        try:
            if answer.status in accepted:
                return answer.status
            text = b"" if answer.status in _REDIRECT else answer.read(_BODY_MOST)
            return self._refusal(answer, text.decode("utf-8", "replace"))
        finally:
            answer.close()

    def _refusal(self, answer: http.client.HTTPResponse, text: str) -> BackhaulError:
        status = answer.status
        if status in _REDIRECT:
            place = shown(_origin(answer.headers.get("Location", "")), 120)
            return PermanentError(
                "E_REPLY_REDIRECT",
                f"{self._where} answers {status} and points to {place}; redirects are not followed",
                hint="write the URL that is meant in the end",
            )
        for secret in filter(None, (self._secret, self._api_key)):
            text = text.replace(secret.decode(), "***")  # the receiver has it, and may repeat it
        text = SecretValues.of_target(self._url.target).hidden_in(text)
        quoted = shown(excerpt(" ".join(text.split())), 220)
        reason = f"{self._where} answers {status} {_phrase(status)}"
        reason = f"{reason.rstrip()}: {quoted}" if quoted else reason.rstrip()
        if status in _LATER or status >= _SERVER_ERROR:
            error = TransientError(
                "E_REPLY_SERVER", reason, hint="look at the receiver's log; it is tried again"
            )
            error.retry_after_s = retry_after_s(answer.headers.get("Retry-After"), self._now())
            return error
        hint = _FIXES.get(status, "look at the receiver's log: it refuses this body for good")
        if self._api_key is not None and status in _UNAUTHORISED:
            hint = "check api_key_file: it has to hold a key that the server knows"
        return PermanentError("E_REPLY_REFUSED", reason, hint=hint)

    def _not_connected(self, exc: OSError, deadline: Deadline) -> TransientError:
        match exc:
            case ssl.SSLCertVerificationError():
                return TransientError(
                    "E_REPLY_TLS",
                    f"{self._where}: its certificate is not trusted: {exc.verify_message}",
                    hint="name the certificate of its authority, or its own, in ca_file",
                )
            case ssl.SSLError():
                return TransientError(
                    "E_REPLY_TLS",
                    f"{self._where}: TLS failed: {exc.reason or exc}",
                    hint="check that the port is one of https",
                )
        if deadline.is_over or isinstance(exc, TimeoutError):
            return self._too_late()
        return TransientError(
            "E_REPLY_UNREACHABLE",
            f"{self._where}: {shown(exc.strerror or str(exc))}",
            hint="check host and port, DNS and the firewall; no proxy is used",
        )

    def _not_answered(self, exc: Exception, deadline: Deadline) -> TransientError:
        if deadline.is_over or isinstance(exc, TimeoutError):
            return self._too_late()
        if isinstance(exc, OSError) and not isinstance(exc, http.client.HTTPException):
            return self._not_connected(exc, deadline)
        return TransientError(
            "E_REPLY_SERVER",
            f"{self._where}: its answer is no HTTP: {type(exc).__name__}",
            hint="check host and port: is it the receiver that answers?",
        )

    def _too_late(self) -> TransientError:
        return TransientError(
            "E_REPLY_TIMEOUT",
            f"{self._where}: no answer within {self._limit_s:g} s",
            hint="let the receiver answer first and work then, or give this reply a longer timeout",
        )


def signature(secret: bytes, stamp: str, body: bytes) -> str:
    """HMAC-SHA256 of `stamp.body`, in hexadecimal."""
    return hmac.new(secret, stamp.encode("ascii") + b"." + body, hashlib.sha256).hexdigest()


def retry_after_s(value: str | None, now_s: float) -> float | None:
    """Seconds from a header Retry-After, from 1 to 3,600; None: there is none that can be read."""
    text = (value or "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:  # noqa: PLR2004 - 30 years
        wait_s = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
        wait_s = (moment.replace(tzinfo=moment.tzinfo or UTC) - _moment(now_s)).total_seconds()
    return min(max(wait_s, _WAIT_LEAST_S), _WAIT_MOST_S)


def _moment(now_s: float) -> datetime:
    return datetime.fromtimestamp(now_s, tz=UTC)


def _origin(location: str) -> str:
    """Scheme and host of a redirect: the rest may hold a token."""
    try:
        parts = urlsplit(location)
        host = parts.hostname or ""
    except ValueError:
        return "no URL"
    return f"{parts.scheme}://{host}" if host else "a path of the same host"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
