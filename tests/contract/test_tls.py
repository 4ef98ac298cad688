"""Certificates are always checked: there is no switch, and an empty one is none."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3 import S3Store
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.core.errors import ConfigurationError, OutageError
from backhaul.core.objects import Pin
from backhaul.core.ports import Endpoint
from backhaul.core.transfer.listing import list_pages

EMPTY = (
    b"<ListBucketResult><Name>bucket</Name><Prefix>p/</Prefix>"
    b"<IsTruncated>false</IsTruncated></ListBucketResult>"
)


PIN = Pin(
    bucket="bucket", key="k", size_bytes=len(EMPTY), etag="e", last_modified=datetime.now(UTC)
)


class Quiet(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(EMPTY)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(EMPTY)))
        self.send_header("ETag", '"e"')
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up on the certificate: expected here."""


@pytest.fixture
def nobodys(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An https server whose certificate nobody vouches for: its URL and that certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    with Server(("127.0.0.1", 0), Quiet) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_address[1]}", certificate
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def aws(nobodys: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_S3": nobodys[0],
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_MAX_ATTEMPTS": "1",
        "NO_PROXY": "localhost",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def lists() -> int:
    pages = list_pages(S3Store(AwsSession("us-east-1")), "bucket", "p/")
    return sum(len(page.pins) for page in pages)


def gets(url: str) -> None:
    reader = ObjectReader(AwsSession("us-east-1").credentials, 2)
    pin = Pin(bucket="bucket", key="k", size_bytes=1, etag="", last_modified=datetime.now(UTC))
    reader.get(Endpoint(base_url=f"{url}/bucket/", region="us-east-1"), pin)


def test_a_certificate_that_nobody_vouches_for_is_refused(nobodys: tuple[str, Path]) -> None:
    for ask in (lists, lambda: gets(nobodys[0])):
        with pytest.raises(OutageError, match="E_S3_UNREACHABLE") as caught:
            ask()
        assert "certificate" in caught.value.message.lower()


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "profile"])
def test_an_empty_bundle_does_not_switch_the_checks_off(
    nobodys: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    if variable == "profile":
        (tmp_path / "config").write_text("[default]\nca_bundle =\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    else:
        monkeypatch.setenv(variable, "")
    with pytest.raises(ConfigurationError, match="E_CFG_TLS"):
        lists()
    # A worker without a bundle takes the built-in one.
    with pytest.raises(OutageError, match="E_S3_UNREACHABLE"):
        gets(nobodys[0])


@pytest.mark.parametrize("how", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "profile", "relative"])
def test_a_bundle_that_vouches_for_it_opens_it_to_listings_queues_and_workers(
    nobodys: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    certificate = nobodys[1]
    match how:
        case "profile":
            (tmp_path / "config").write_text(f"[default]\nca_bundle = {certificate}\n")
            monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        case "relative":
            monkeypatch.chdir(certificate.parent)
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate.name)
        case _:
            monkeypatch.setenv(how, str(certificate))
    assert lists() == 0
    # As a worker gets it, in whose environment and directory nothing of this need be.
    endpoint = S3Store(AwsSession("us-east-1")).endpoint("bucket")
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir("/")
    reader = ObjectReader(AwsSession("us-east-1").credentials, 2)
    reader.check_reachable(endpoint)
    with reader.get(endpoint, PIN) as body:
        assert body.readall() == EMPTY
    reader.close()


def test_aws_ca_bundle_goes_before_requests_own(
    nobodys: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/none/such.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(nobodys[1]))
    assert lists() == 0


@pytest.mark.parametrize("what", ["absent", "directory", "no certificates"])
@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_bundle_that_cannot_be_used_is_refused_at_the_start_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, what: str
) -> None:
    path = tmp_path / "bundle.pem"
    if what == "directory":
        path.mkdir()
    elif what == "no certificates":
        path.write_text("nothing of use")
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(ConfigurationError, match="E_CFG_TLS") as caught:
        S3Store(AwsSession("us-east-1"))
    assert str(path) in caught.value.message
