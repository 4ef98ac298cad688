"""Reports of S3 Inventory in a bucket, from S3Proxy and from moto; refusals as S3 words them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.inventory import s3_files
from backhaul.adapters.aws.s3 import S3Store
from backhaul.app.inventory import open_inventory
from backhaul.core.errors import BackhaulError
from backhaul.core.transfer.listing import list_pages
from backhaul.testing.servers import Moto, clients
from testbed import S3Proxy
from tests.acceptance.proxy import Answer, Proxy
from tests.inventories import AT, MANIFEST, TAKEN_AT, Report, report, row

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.integration
NOW = TAKEN_AT + timedelta(hours=30)


@pytest.fixture(params=["s3proxy", "moto_server"])
def server(request: pytest.FixtureRequest) -> S3Proxy | Moto:
    found: S3Proxy | Moto = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def proxy(server: S3Proxy | Moto) -> Iterator[Proxy]:
    with Proxy(server) as found:
        yield found


@pytest.fixture
def aws(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> AwsSession:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in clients.environment(s3=proxy).items():  # type: ignore[arg-type] # as a server
        if name.startswith("AWS_") or name.lower() == "no_proxy":
            monkeypatch.setenv(name, value)
    return AwsSession(clients.REGION)


@pytest.fixture
def raw(server: S3Proxy | Moto) -> S3Client:
    return clients.s3_client(server)


@pytest.fixture
def deliver(raw: S3Client) -> Callable[[Report], str]:
    """Puts a report into a bucket of its own; the address of its manifest."""

    def put(made: Report) -> str:
        bucket = f"reports-{uuid.uuid4().hex[:12]}"
        raw.create_bucket(Bucket=bucket)
        for key, content in made.contents().items():
            raw.put_object(Bucket=bucket, Key=key, Body=content)
        return f"s3://{bucket}/{MANIFEST}"

    return put


def keys(where: str, aws: AwsSession) -> list[str]:
    with open_inventory(where, aws, S3Store(aws), sources=[("raw", "")], now=NOW) as found:
        return [pin.key for page in list_pages(found.store, "raw", "") for pin in page.pins]


def refused(where: str, aws: AwsSession) -> BackhaulError:
    with pytest.raises(BackhaulError) as caught:
        keys(where, aws)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("range_bytes", [100, 8 << 20])
def test_a_delivered_report_is_read(
    aws: AwsSession,
    deliver: Callable[[Report], str],
    monkeypatch: pytest.MonkeyPatch,
    range_bytes: int,
) -> None:
    monkeypatch.setattr(s3_files, "RANGE_BYTES", range_bytes)
    many = [row(f"b/{n:05}") for n in range(300)]
    where = deliver(report(many[150:], [row("a b+c")], many[:150]))
    assert keys(where, aws) == ["a b+c", *(f"b/{n:05}" for n in range(300))]


def test_what_left_s3_is_counted(
    aws: AwsSession, deliver: Callable[[Report], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_files, "RANGE_BYTES", 100)
    made = report([row(f"b/{n:05}") for n in range(300)])
    with open_inventory(deliver(made), aws, S3Store(aws), sources=[("raw", "")], now=NOW) as found:
        assert found.received_bytes == sum(len(one) for one in made.contents().values())


def test_what_is_not_there_is_named(
    aws: AwsSession, deliver: Callable[[Report], str], raw: S3Client
) -> None:
    where = deliver(report([row("a")], [row("b")]))
    bucket = where.split("/")[2]
    raw.delete_object(Bucket=bucket, Key=f"{AT}/data/1.csv.gz")
    error = refused(where, aws)
    assert (error.code, "data/1.csv.gz" in error.message) == ("E_INVENTORY_FILE", True)
    raw.delete_object(Bucket=bucket, Key=MANIFEST.replace(".json", ".checksum"))
    error = refused(where, aws)
    assert (error.code, "manifest.checksum" in error.message) == ("E_INVENTORY_FILE", True)
    assert refused(f"s3://{bucket}/none/manifest.json", aws).code == "E_INVENTORY_FILE"
    assert refused(f"s3://no-{bucket}/manifest.json", aws).code == "E_SRC_NO_BUCKET"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "AccessDenied", "E_INVENTORY_DENIED"),
        (400, "KMS.DisabledException", "E_INVENTORY_DENIED"),
        (403, "InvalidObjectState", "E_INVENTORY_FILE"),
        (403, "InvalidAccessKeyId", "E_AWS_DENIED"),
    ],
)
def test_a_refusal_of_s3_is_one_clear_line(
    aws: AwsSession,
    deliver: Callable[[Report], str],
    proxy: Proxy,
    status: int,
    code: str,
    expected: str,
) -> None:
    where = deliver(report([row("a")]))

    def refuse(answer: Answer) -> None:
        answer.refuse(status, code)
        answer.headers.append(("x-amz-request-id", "1"))

    proxy.lie(refuse, to=lambda seen: seen.path.endswith(".csv.gz"))
    error = refused(where, aws)
    assert error.code == expected
    assert "\n" not in error.message


def test_an_empty_file_is_no_report(
    aws: AwsSession, deliver: Callable[[Report], str], raw: S3Client
) -> None:
    where = deliver(report([row("a")]))
    raw.put_object(Bucket=where.split("/")[2], Key=MANIFEST, Body=b"")
    assert refused(where, aws).code == "E_INVENTORY_CHECKSUM"


def test_a_body_that_breaks_is_an_outage(
    aws: AwsSession, deliver: Callable[[Report], str], proxy: Proxy
) -> None:
    where = deliver(report([row(f"{n}") for n in range(1000)]))

    def cut(answer: Answer) -> None:
        answer.cut_after = 100

    proxy.lie(cut, to=lambda seen: seen.path.endswith(".csv.gz"))
    assert refused(where, aws).code == "E_S3_UNREACHABLE"
