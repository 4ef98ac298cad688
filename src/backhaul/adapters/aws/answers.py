"""Answers that botocore reads, made strict: bounded, complete, and readable or refused.

botocore reads a body whole whatever its size, accepts one that ended early, takes any text for an
empty JSON answer, and lets a KeyError or ValueError of its parsers through. A web page in place of
an answer would then be an empty queue, or a dead letter that was never sent. So every client of a
`StrictSession` has a `CheckedSession` below it and `CheckedParsers` above it; an unreadable answer
is a ResponseParserError, which `causes` has an entry for.

Source: botocore/httpsession.py, botocore/parsers.py (release 1.44).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import HTTPClientError, ReadTimeoutError
from botocore.parsers import ResponseParserError, ResponseParserFactory
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as Urllib3ReadTimeoutError

if TYPE_CHECKING:
    from botocore.httpsession import URLLib3Session

# Ten messages of 1 MiB, each character of theirs a JSON escape of six.
BODY_MAX_BYTES = 64 << 20
_BODY_TIMEOUTS = 2  # a whole body may take so many of a client's read timeouts
_CHUNK_BYTES = 1 << 16
_SUCCESS, _ERROR = 200, 300  # of HTTP statuses
# Operations whose success is an empty JSON body.
_SILENT = frozenset({"DeleteMessage", "ChangeMessageVisibility"})
_NO_BODY = frozenset({204, 304})


class StrictSession(botocore.session.Session):
    """A session whose clients read answers strictly, also those that fetch credentials."""

    def __init__(self) -> None:
        super().__init__()
        self.register_component("response_parser_factory", CheckedParsers())

    def create_client(self, *args: Any, **named: Any) -> Any:
        client: Any = super().create_client(*args, **named)
        endpoint = client._endpoint  # noqa: SLF001 - botocore has no other place to set it
        limit_s = _BODY_TIMEOUTS * client.meta.config.read_timeout
        endpoint.http_session = CheckedSession(endpoint.http_session, limit_s)
        return client


class CheckedSession:
    """Sends through another session; reads answers to their end, up to a limit.

    Args:
        limit_s: For the whole body. The read timeout is for each byte of it, so it would never end
            a body that drips.
    """

    def __init__(
        self,
        session: URLLib3Session,
        limit_s: float,
        *,
        limit_bytes: int = BODY_MAX_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._limit_s = limit_s
        self._limit_bytes = limit_bytes
        self._monotonic = monotonic

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        """As URLLib3Session; an answer that ends early, or goes on too long, is refused.

        Raises:
            ReadTimeoutError, HTTPClientError: botocore tries again.
        """
        request.stream_output = True  # or the session would read the body, however long it is
        try:
            response = self._session.send(request)
        except HTTPClientError as exc:
            cause = exc.kwargs.get("error")
            if isinstance(cause, ValueError):
                # Of a header that cannot be sent. It quotes the header: a key, or a token.
                raise HTTPClientError(error=type(cause).__name__) from None
            raise
        try:
            body = self._read(response, request)
        except (Urllib3ReadTimeoutError, TimeoutError) as exc:
            raise ReadTimeoutError(endpoint_url=request.url, error=exc) from exc
        except (HTTPError, OSError) as exc:
            raise HTTPClientError(error=exc) from exc
        headers: Any = response.headers  # another class of mapping in the stubs
        return AWSResponse(response.url, response.status_code, headers, _Body(body))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _read(self, response: AWSResponse, request: AWSPreparedRequest) -> bytes:
        raw: Any = response.raw
        pieces, length = [], 0
        give_up_s = self._monotonic() + self._limit_s
        # Not `read` or `stream`: they come back when a whole piece is there.
        while piece := raw.read1(_CHUNK_BYTES):
            pieces.append(piece)
            length += len(piece)
            if self._monotonic() > give_up_s:
                raw.close()
                raise TimeoutError(f"the body was not complete after {self._limit_s:.0f} s")
            if length > self._limit_bytes:
                raw.close()
                raise HTTPClientError(error=f"a body of over {self._limit_bytes} B")
        declared = response.headers.get("Content-Length", "")
        has_body = request.method != "HEAD" and response.status_code not in _NO_BODY
        if has_body and declared.isdigit() and declared != str(length):
            raw.close()
            raise HTTPClientError(error=f"the body ended after {length} of {declared[:20]} B")
        return b"".join(pieces)


class _Body(BytesIO):
    """Bytes in memory, in the shapes that AWSResponse and GetObject's body read."""

    def stream(self) -> Iterator[bytes]:
        yield self.getvalue()


class CheckedParsers(ResponseParserFactory):
    """Makes botocore's parsers, each behind a `_CheckedParser`."""

    def create_parser(self, protocol_name: str) -> Any:
        return _CheckedParser(super().create_parser(protocol_name), protocol_name)


class _CheckedParser:
    def __init__(self, parser: Any, protocol: str) -> None:
        self._parser = parser
        self._protocol = protocol

    def parse(self, response: dict[str, Any], shape: Any) -> dict[str, Any]:
        """As botocore's.

        Raises:
            ResponseParserError: It cannot be read; never quotes the body, which may hold secrets.
        """
        status: int = response["status_code"]
        is_error = status >= _ERROR
        try:
            _check_final(status)
            if self._protocol == "json":
                # Or the body would become the error's message: a proxy's page may quote anything.
                _check_json(response, may_be_empty=is_error)
            parsed = self._parser.parse(response, shape)
        except Exception as exc:  # noqa: BLE001 - a foreign parser on foreign bytes
            if is_error:
                # The status is an answer even without a readable body.
                return _refusal_by_status(response)
            operation = response.get("context", {}).get("operation_name", "a call")
            size = len(response["body"]) if isinstance(response["body"], bytes) else 0
            raise ResponseParserError(
                f"the answer to {operation} cannot be read ({size} B, {type(exc).__name__})"
            ) from None
        return _with_plain_error(parsed, response) if is_error else parsed


def _check_final(status: int) -> None:
    """A status below 200, which botocore takes for success, is no answer yet."""
    if status < _SUCCESS:
        raise ValueError(status)


def _check_json(response: dict[str, Any], *, may_be_empty: bool) -> None:
    body = response["body"]
    operation = response.get("context", {}).get("operation_name")
    if not body and (may_be_empty or operation in _SILENT):
        return
    if not isinstance(json.loads(body), dict):
        raise TypeError("no object")


def _refusal_by_status(response: dict[str, Any]) -> dict[str, Any]:
    return {
        "Error": {"Code": str(response["status_code"]), "Message": ""},
        "ResponseMetadata": {
            "HTTPStatusCode": response["status_code"],
            "HTTPHeaders": {name.lower(): value for name, value in response["headers"].items()},
        },
    }


def _with_plain_error(parsed: Any, response: dict[str, Any]) -> dict[str, Any]:
    """With `Error`, and its `Code` and `Message` as texts."""
    if not isinstance(parsed, dict):
        return _refusal_by_status(response)
    error = parsed.get("Error", {})
    if not isinstance(error, dict):
        error = {}
    if "Error" in parsed:
        texts = {name: text for name, text in error.items() if isinstance(text, str)}
        texts["Code"] = texts.get("Code") or str(response["status_code"])
        texts.setdefault("Message", "")
        parsed["Error"] = texts
    return parsed
