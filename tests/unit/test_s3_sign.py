"""Our signer against botocore's, which AWS itself keeps right."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from backhaul.adapters.s3_sign import Signer

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 3, 1, 4, 5, 6, tzinfo=UTC)
PLAIN = ReadOnlyCredentials("AKID", "secret/+key", None)
WITH_TOKEN = ReadOnlyCredentials("ASIA", "other", "token//==")
BASE = {"User-Agent": "backhaul/1", "x-amz-checksum-mode": "ENABLED"}


def botocores(
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    url: str,
    headers: Mapping[str, str],
    credentials: ReadOnlyCredentials,
    region: str,
) -> dict[str, str]:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW)
    request = AWSRequest(method=method, url=url, headers=dict(headers))
    S3SigV4Auth(credentials, "s3", region).add_auth(request)
    return dict(request.headers.items())


@pytest.mark.parametrize("credentials", [PLAIN, WITH_TOKEN], ids=["plain", "token"])
@pytest.mark.parametrize(
    ("scheme", "host", "region"),
    [
        ("https", "bucket.s3.eu-west-1.amazonaws.com", "eu-west-1"),
        ("http", "127.0.0.1:9000", "us-east-1"),
        ("http", "[::1]:9000", "us-east-1"),
    ],
)
@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/a", BASE),
        ("HEAD", "/a", BASE),
        ("GET", "/" + quote("p//../a b+c%é~\x01'()*", safe="/-_.~"), BASE),
        ("GET", "/a?versionId=x-1_.~%2B", BASE),
        (
            "GET",
            "/a?attributes&versionId=1",
            {**BASE, "x-amz-object-attributes": "ETag"},
        ),
        ("GET", "/a", {**BASE, "If-Match": '"0cc1"', "Range": "bytes=0-7"}),
        ("GET", "/a", {**BASE, "x-amz-expected-bucket-owner": "  123   456 "}),
    ],
)
def test_signature_and_headers_are_botocores(
    monkeypatch: pytest.MonkeyPatch,
    credentials: ReadOnlyCredentials,
    scheme: str,
    host: str,
    region: str,
    method: str,
    target: str,
    headers: dict[str, str],
) -> None:
    expected = botocores(
        monkeypatch, method, f"{scheme}://{host}{target}", headers, credentials, region
    )
    found = Signer().signed(
        method, host, target, headers, credentials, region, now_s=NOW.timestamp()
    )
    assert found.pop("Host") == host
    assert found == expected


def test_a_key_is_made_anew_for_another_day_region_or_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signer = Signer()
    later_s = NOW.timestamp() + 86_400
    signer.signed("GET", "h", "/a", BASE, PLAIN, "us-east-1", now_s=later_s)
    for credentials, region in ((PLAIN, "us-east-1"), (PLAIN, "eu-west-1"), (WITH_TOKEN, "x")):
        found = signer.signed("GET", "h", "/a", BASE, credentials, region, now_s=NOW.timestamp())
        expected = botocores(monkeypatch, "GET", "https://h/a", BASE, credentials, region)
        assert found["Authorization"] == expected["Authorization"]


def test_a_request_is_signed_for_now() -> None:
    before = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    found = Signer().signed("GET", "h", "/a", BASE, PLAIN, "us-east-1")
    assert before <= found["X-Amz-Date"] <= datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
