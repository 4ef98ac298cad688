"""Every foreign exception ends as one of ours, with the base that says what happens next."""

from __future__ import annotations

import inspect
import shutil
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import botocore.exceptions
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import get_cert_path
from botocore.parsers import ResponseParserError

from backhaul import __version__
from backhaul.adapters.aws.causes import (
    FOREIGN,
    Cause,
    CredentialSourceError,
    cause_of,
    message_of,
    one_line,
)
from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.credentials import AwsCredentials, hadoop_credentials
from backhaul.adapters.aws.errors import (
    HINT_CONFIG,
    common_error,
    listing_error,
    object_error,
    queue_error,
)
from backhaul.adapters.aws.s3 import S3Store, _region_in
from backhaul.adapters.aws.s3_answer import ErrorAnswer
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.aws.tls import is_loopback, refuse_plain_http
from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration
from backhaul.adapters.system.clock import SystemClock
from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    OutageError,
    PermanentError,
    TransientError,
)
from backhaul.core.objects import Pin
from backhaul.core.ports import Endpoint, QueueFacts

pytestmark = pytest.mark.slow  # each test makes clients of AWS

ACCOUNT_WIDE = ("AccountProblem", "UserSuspended", "AllAccessDisabled", "QuotaExceeded")


def answer(code: str, status: int = 400, message: str = "said AWS") -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "r",
                "HostId": "h",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
            },
        },
        "Operation",
    )


def s3a_in(directory: Path) -> Callable[[], S3aConfiguration]:
    load = S3aConfiguration.loader(directory)
    assert load is not None
    return load


def made(cls: type[BotoCoreError]) -> BotoCoreError:
    """One of the class without knowing its fields."""
    error = cls.__new__(cls)
    Exception.__init__(error, "from botocore")
    return error


EVERY_BOTOCORE_ERROR = [
    cls
    for _, cls in inspect.getmembers(botocore.exceptions, inspect.isclass)
    if issubclass(cls, BotoCoreError)
]


@pytest.mark.parametrize("cls", EVERY_BOTOCORE_ERROR, ids=lambda cls: cls.__name__)
def test_nothing_of_botocore_passes_through(cls: type[BotoCoreError]) -> None:
    error = made(cls)

    assert isinstance(error, FOREIGN)
    assert isinstance(queue_error(error, "queue q"), BackhaulError)
    assert isinstance(listing_error(error, "b", "s3://b/"), BackhaulError)


@pytest.mark.parametrize("status", [0, 400, 404, 418])
def test_unmapped_answer_is_unexpected_and_never_ends_the_agent(status: int) -> None:
    error = answer("NeverHeardOf", status)

    held = queue_error(error, "queue q")
    assert (held.dependency, held.code) == ("sqs", "E_AWS_UNEXPECTED")
    for ours in (
        listing_error(error, "b", "s3://b/"),
        common_error(error, "x"),
    ):
        assert type(ours) is TransientError
        assert ours.code == "E_AWS_UNEXPECTED"
        assert "NeverHeardOf: said AWS" in ours.message


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (answer("ExpiredToken"), Cause.EXPIRED),
        (answer("InvalidClientTokenId", 403), Cause.REFUSED),
        (answer("SignatureDoesNotMatch", 403), Cause.REFUSED),
        (answer("RequestTimeTooSkewed", 403), Cause.CLOCK),
        (answer("AccessDenied", 403), Cause.DENIED),
        (answer("NeverHeardOf", 403), Cause.DENIED),
        (answer("SlowDown", 503), Cause.THROTTLED),
        (answer("RequestThrottled"), Cause.THROTTLED),
        (answer("AWS.SimpleQueueService.OverLimit"), Cause.THROTTLED),
        (answer("com.amazonaws.sqs#OverLimit"), Cause.THROTTLED),
        (answer("InternalError", 500), Cause.UNREACHABLE),
        (answer("NeverHeardOf", 502), Cause.UNREACHABLE),
        (made(botocore.exceptions.NoCredentialsError), Cause.NO_CREDENTIALS),
        (made(botocore.exceptions.EndpointConnectionError), Cause.UNREACHABLE),
        (made(botocore.exceptions.ConnectTimeoutError), Cause.UNREACHABLE),
        (made(botocore.exceptions.ReadTimeoutError), Cause.UNREACHABLE),
        (made(botocore.exceptions.ConnectionClosedError), Cause.UNREACHABLE),
        (made(botocore.exceptions.SSLError), Cause.UNREACHABLE),
        (made(botocore.exceptions.ProxyConnectionError), Cause.UNREACHABLE),
        (ResponseParserError("no XML"), Cause.UNREACHABLE),
        (made(botocore.exceptions.ProfileNotFound), Cause.CONFIGURATION),
        (made(botocore.exceptions.UnauthorizedSSOTokenError), Cause.EXPIRED),
        (made(botocore.exceptions.ParamValidationError), Cause.PARAMETER),
    ],
    ids=lambda value: value.name if isinstance(value, Cause) else "",
)
def test_cause_is_found(error: Exception, cause: Cause) -> None:
    assert cause_of(error) is cause


@pytest.mark.parametrize(
    ("code", "status", "dependency", "ours"),
    [
        ("AccessDenied", 403, "credentials", "E_AWS_DENIED"),
        ("InvalidClientTokenId", 403, "credentials", "E_AWS_DENIED"),
        ("ExpiredToken", 403, "credentials", "E_AWS_EXPIRED"),
        ("RequestTimeTooSkewed", 403, "credentials", "E_AWS_CLOCK"),
        ("RequestThrottled", 400, "sqs", "E_SQS_THROTTLED"),
        ("InternalFailure", 500, "sqs", "E_SQS_UNREACHABLE"),
        ("502", 502, "sqs", "E_SQS_UNREACHABLE"),
        ("503", 503, "sqs", "E_SQS_THROTTLED"),
        ("504", 504, "sqs", "E_SQS_UNREACHABLE"),
        ("404", 404, "sqs", "E_AWS_UNEXPECTED"),
        ("405", 405, "sqs", "E_AWS_UNEXPECTED"),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, "sqs", "E_QUEUE_NOT_FOUND"),
        ("AWS.SimpleQueueService.QueueDeletedRecently", 400, "sqs", "E_QUEUE_NOT_FOUND"),
        ("KMS.AccessDeniedException", 400, "sqs", "E_SQS_KMS"),
        ("KMS.DisabledException", 400, "sqs", "E_SQS_KMS"),
        ("KMS.InvalidStateException", 400, "sqs", "E_SQS_KMS"),
        ("KMS.NotFoundException", 400, "sqs", "E_SQS_KMS"),
        ("KMS.OptInRequired", 400, "sqs", "E_SQS_KMS"),
        ("KMS.SomethingNew", 400, "sqs", "E_SQS_KMS"),
        ("com.amazonaws.sqs#KmsAccessDenied", 400, "sqs", "E_SQS_KMS"),
        ("KmsInvalidKeyUsage", 400, "sqs", "E_SQS_KMS"),
        ("KMS.ThrottlingException", 400, "sqs", "E_SQS_THROTTLED"),
        ("SignatureDoesNotMatch", 403, "credentials", "E_AWS_DENIED"),
        ("OverLimit", 403, "sqs", "E_SQS_THROTTLED"),
        ("UnsupportedOperation", 400, "sqs", "E_AWS_UNEXPECTED"),
        ("InvalidSecurity", 403, "credentials", "E_AWS_DENIED"),
        ("407", 407, "sqs", "E_SQS_UNREACHABLE"),
    ],
)
def test_refused_queue_holds_the_route(code: str, status: int, dependency: str, ours: str) -> None:
    error = queue_error(answer(code, status), "queue q")

    assert isinstance(error, OutageError)
    assert (error.dependency, error.code) == (dependency, ours)


@pytest.mark.parametrize(
    ("code", "status", "kind", "ours"),
    [
        ("NoSuchBucket", 404, PermanentError, "E_SRC_NO_BUCKET"),
        ("InvalidBucketName", 400, PermanentError, "E_SRC_BUCKET"),
        ("AccessDenied", 403, PermanentError, "E_SRC_DENIED"),
        ("403", 403, PermanentError, "E_SRC_DENIED"),
        ("PermanentRedirect", 301, PermanentError, "E_SRC_REGION"),
        ("AuthorizationHeaderMalformed", 400, OutageError, "E_AWS_DENIED"),
        ("IllegalLocationConstraintException", 400, PermanentError, "E_SRC_REGION"),
        *((code, 403, OutageError, "E_AWS_ACCOUNT") for code in ACCOUNT_WIDE),
        ("InvalidAccessKeyId", 403, OutageError, "E_AWS_DENIED"),
        ("ExpiredToken", 400, OutageError, "E_AWS_EXPIRED"),
        ("SlowDown", 503, OutageError, "E_S3_THROTTLED"),
        ("503", 503, OutageError, "E_S3_THROTTLED"),
        ("502", 502, OutageError, "E_S3_UNREACHABLE"),
        ("504", 504, OutageError, "E_S3_UNREACHABLE"),
        ("InternalError", 500, OutageError, "E_S3_UNREACHABLE"),
    ],
)
def test_refused_listing_is_the_requests_fault_or_an_outage(
    code: str, status: int, kind: type[BackhaulError], ours: str
) -> None:
    error = listing_error(answer(code, status), "b", "s3://b/p/")

    assert (type(error), error.code) == (kind, ours)
    assert "s3://b/p/" in error.message


def test_a_customers_key_is_not_read_out_of_an_objects_name() -> None:
    error = listing_error(answer("InvalidRequest"), "b", "s3://b/Encryption/x version v")
    assert error.code == "E_AWS_UNEXPECTED"
    error = listing_error(answer("InvalidRequest", message="its Encryption"), "b", "s3://b/x")
    assert error.code == "E_SRC_SSEC"


def test_signature_refusal_does_not_quote_the_request() -> None:
    error = answer("SignatureDoesNotMatch", 403, "x-amz-security-token:VERYSECRET")
    aws = AwsSession("us-east-1")

    with (
        pytest.raises(OutageError) as caught,
        aws.errors(lambda exc: queue_error(exc, "queue q")),
    ):
        raise error
    assert "VERYSECRET" not in message_of(error) + str(caught.value)
    assert caught.value.__suppress_context__


def test_foreign_error_stays_the_cause_for_whoever_debugs() -> None:
    error = answer("InternalError", 500)

    with (
        pytest.raises(OutageError) as caught,
        AwsSession("us-east-1").errors(lambda exc: queue_error(exc, "queue q")),
    ):
        raise error
    assert caught.value.__cause__ is error


def test_error_texts_stay_on_one_line_and_short() -> None:
    assert one_line("a\nb\x1b[31m\u2028c") == "a\\nb\\x1b[31m\\u2028c"
    assert len(one_line("x" * 5000)) == 300


# ---------------------------------------------------------------- credentials

CORE_SITE = """<?xml version="1.0"?><configuration>
  <property><name>fs.s3a.access.key</name><value> AKIDHADOOP </value></property>
  <property><name>fs.s3a.secret.key</name><value>hadoop-secret</value></property>
  {more}
</configuration>"""
TOKEN = "<property><name>fs.s3a.session.token</name><value>hadoop-token</value></property>"


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which AWS's chain finds no credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize(("more", "token"), [("", None), (TOKEN, "hadoop-token")])
def test_hadoops_keys_serve_where_aws_has_none(
    tmp_path: Path, more: str, token: str | None
) -> None:
    (tmp_path / "core-site.xml").write_text(CORE_SITE.format(more=more))

    found = AwsCredentials(s3a_in(tmp_path)).get_frozen_credentials()
    assert (found.access_key, found.secret_key, found.token) == (
        "AKIDHADOOP",
        "hadoop-secret",
        token,
    )


@pytest.mark.usefixtures("nothing")
def test_awss_own_chain_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "core-site.xml").write_text(CORE_SITE.format(more=""))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")

    assert AwsCredentials(s3a_in(tmp_path)).access_key == "AKIDENV"


@pytest.mark.usefixtures("nothing")
def test_no_credentials_anywhere_is_said_so(tmp_path: Path) -> None:
    for conf_dir in (None, tmp_path):
        with pytest.raises(botocore.exceptions.NoCredentialsError):
            AwsCredentials(S3aConfiguration.loader(conf_dir)).get_frozen_credentials()


@pytest.mark.usefixtures("nothing")
def test_refused_credentials_are_looked_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOLD")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    credentials = AwsCredentials()
    assert credentials.access_key == "AKIDOLD"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDNEW")

    credentials.forget()  # too soon after the last look: nothing happens
    assert credentials.access_key == "AKIDOLD"
    monkeypatch.setattr("backhaul.adapters.aws.credentials._LOOK_AGAIN_S", 0.0)
    credentials.forget()
    assert credentials.access_key == "AKIDNEW"


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + CORE_SITE.format(more="&e;"),
        "<!DOCTYPE configuration>" + CORE_SITE.format(more=""),
        "<configuration><property>",
        "not XML",
    ],
)
def test_core_site_with_a_doctype_or_broken_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "core-site.xml").write_text(text.replace('<?xml version="1.0"?>', ""))

    with pytest.raises(ConfigurationError) as caught:
        hadoop_credentials(s3a_in(tmp_path))
    assert caught.value.code == "E_CFG_CORE_SITE"
    assert "hadoop-secret" not in str(caught.value)


def test_core_site_in_utf16_hides_no_doctype(tmp_path: Path) -> None:
    text = "<!DOCTYPE configuration>" + CORE_SITE.format(more="")
    (tmp_path / "core-site.xml").write_bytes(
        text.replace('<?xml version="1.0"?>', "").encode("utf-16")
    )

    with pytest.raises(ConfigurationError):
        hadoop_credentials(s3a_in(tmp_path))


def test_core_site_without_both_keys_gives_none(tmp_path: Path) -> None:
    (tmp_path / "core-site.xml").write_text(CORE_SITE.format(more="").replace("hadoop-secret", ""))
    assert hadoop_credentials(s3a_in(tmp_path)) is None


def test_a_key_in_the_environment_is_found_and_one_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CORE_SITE.format(more="").replace("hadoop-secret", "${env.THE_SECRET}")
    (tmp_path / "core-site.xml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        hadoop_credentials(s3a_in(tmp_path))
    assert caught.value.code == "E_CFG_HADOOP_VARIABLE"
    assert "fs.s3a.secret.key holds a variable that is not set" in caught.value.message
    monkeypatch.setenv("THE_SECRET", "from the environment")
    found = hadoop_credentials(s3a_in(tmp_path))
    assert found is not None
    assert found.secret_key == "from the environment"


# ---------------------------------------------------------------- who refused


def nameless(status: int, operation: str) -> ClientError:
    """As botocore makes it of an answer that AWS did not write."""
    headers = {"content-type": "text/html"}
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    error = {"Code": str(status), "Message": "Forbidden"}
    return ClientError({"Error": error, "ResponseMetadata": metadata}, operation)  # type: ignore[typeddict-item]


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 407])
def test_a_refusal_by_a_proxy_holds_and_names_it(status: int) -> None:
    queue = queue_error(nameless(status, "ReceiveMessage"), "queue q")
    listed = listing_error(nameless(status, "ListObjectsV2"), "b", "s3://b/")
    for error, code in (
        (queue, "E_SQS_UNREACHABLE"),
        (listed, "E_S3_UNREACHABLE"),
    ):
        assert isinstance(error, OutageError)
        assert error.code == code
        assert f"answered {status} without a code or request id of AWS" in error.message
        assert "HTTPS_PROXY" in error.hint


def refused_by_sts(code: str, status: int = 403) -> ClientError:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RequestId": "r"}
    error = {"Code": code, "Message": "arn:aws:sts::1:assumed-role/x is not authorized"}
    return ClientError({"Error": error, "ResponseMetadata": metadata}, "AssumeRole")  # type: ignore[typeddict-item]


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (refused_by_sts("AccessDenied"), "E_AWS_DENIED", "STS refused AssumeRole: AccessDenied"),
        (refused_by_sts("ExpiredTokenException", 400), "E_AWS_EXPIRED", "STS refused AssumeRole"),
        (refused_by_sts("InvalidIdentityToken", 400), "E_AWS_DENIED", "InvalidIdentityToken"),
        (refused_by_sts("Throttling", 400), "E_AWS_CREDENTIALS", "Throttling"),
        (refused_by_sts("RegionDisabledException"), "E_AWS_DENIED", "RegionDisabledException"),
        (refused_by_sts("NeverHeardOf", 400), "E_AWS_CREDENTIALS", "NeverHeardOf"),
        (refused_by_sts("\n", 412), "E_AWS_CREDENTIALS", "AssumeRole: 412"),
        (nameless(403, "AssumeRole"), "E_AWS_CREDENTIALS", "AssumeRole"),
        (ResponseParserError("the answer cannot be read"), "E_AWS_CREDENTIALS", "cannot be read"),
        (made(botocore.exceptions.ProfileNotFound), "E_AWS_CREDENTIALS", ""),
        (made(botocore.exceptions.ConnectTimeoutError), "E_AWS_CREDENTIALS", ""),
        (made(botocore.exceptions.MetadataRetrievalError), "E_AWS_DENIED", ""),
        (KeyError("SECRET"), "E_AWS_CREDENTIALS", "KeyError"),
        (FileNotFoundError("SECRET"), "E_AWS_CREDENTIALS", "FileNotFoundError"),
        (ConfigurationError("E_CFG_CORE_SITE", "core-site.xml: cut"), "E_AWS_CREDENTIALS", "cut"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_credentials_that_cannot_be_got_hold_whatever_needs_them(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, code: str, words: str
) -> None:
    def fails(_: object) -> None:
        raise raised

    aws = AwsSession("us-east-1")
    monkeypatch.setattr(AwsCredentials, "_search", fails)
    for translate in (
        lambda exc: queue_error(exc, "queue q"),
        lambda exc: listing_error(exc, "b", "s3://b/"),
        lambda exc: common_error(exc, "S3 credentials"),
    ):
        with pytest.raises(OutageError) as caught, aws.errors(translate):
            aws.credentials.get_frozen_credentials()
        assert (caught.value.dependency, caught.value.code) == ("credentials", code)
        assert words in caught.value.message
        assert "SECRET" not in str(caught.value)


@pytest.mark.usefixtures("nothing")
def test_a_credential_process_that_is_gone_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default]\ncredential_process = /none/such --x\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    aws = AwsSession("us-east-1")
    with (
        pytest.raises(OutageError, match="E_AWS_CREDENTIALS"),
        aws.errors(lambda exc: queue_error(exc, "queue q")),
    ):
        aws.credentials.get_frozen_credentials()


A_ROLE = "[default]\nrole_arn = arn:aws:iam::123456789012:role/x\n"


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("[default]\ncredential_process = /none/such --x\n", "/none/such"),
        (f"{A_ROLE}web_identity_token_file = /none/token\n", "/none/token"),
        ("AWS_METADATA_SERVICE_TIMEOUT=abc", "AWS_METADATA_SERVICE_TIMEOUT"),
        ("AWS_METADATA_SERVICE_NUM_ATTEMPTS=1.5", "AWS_METADATA_SERVICE_NUM_ATTEMPTS"),
    ],
)
def test_the_file_or_variable_that_gives_no_credentials_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, named: str
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    configured(tmp_path, monkeypatch, settings)
    with pytest.raises(CredentialSourceError) as caught:
        AwsSession("eu-west-1").credentials.get_frozen_credentials()
    assert named in str(caught.value)
    error = common_error(caught.value, "queue q")
    assert isinstance(error, OutageError)
    assert (error.code, error.dependency) == ("E_AWS_CREDENTIALS", "credentials")


BAD_CREDENTIALS = [
    ("AWS_SESSION_TOKEN", "IQoJVERYSECRET\n", "session token"),
    ("AWS_SESSION_TOKEN", "IQoJVERY\r\nSECRET", "session token"),
    ("AWS_SESSION_TOKEN", "IQoJVERY SECRET", "session token"),
    ("AWS_SESSION_TOKEN", "IQoJVERYSECRET\u2026", "session token"),
    ("AWS_ACCESS_KEY_ID", "AKIAVERYSECRET\r", "access key"),
    ("AWS_ACCESS_KEY_ID", "AKIAVERYSECRET\u2026", "access key"),
    ("AWS_SECRET_ACCESS_KEY", "VERYSECRET\n", "secret key"),
    ("AWS_SECRET_ACCESS_KEY", " VERYSECRET", "secret key"),
]


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize(("name", "value", "words"), BAD_CREDENTIALS)
def test_credentials_that_no_header_can_carry_are_named_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "k")
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    aws = AwsSession("us-east-1")
    reader = ObjectReader(aws.credentials, 1)
    pin = Pin(bucket="b", key="k", size_bytes=1, etag="e", last_modified=datetime.now(UTC))
    endpoint = Endpoint(base_url="http://127.0.0.1:9/b/", region="us-east-1")
    calls: list[Callable[[], object]] = [
        lambda: S3Store(aws).list_page("b", "p/"),
        lambda: reader.get(endpoint, pin),
    ]
    for call in calls:
        with pytest.raises(OutageError, match="E_AWS_CREDENTIALS") as caught:
            call()
        assert f"the {words} has " in caught.value.message
        assert "SECRET" not in repr(caught.value)
    with pytest.raises(ConfigurationError, match=f"E_AWS_CONFIG.* the {words} has ") as start:
        SqsQueue.open("work", "us-east-1", aws, SystemClock())
    assert "SECRET" not in repr(start.value)

    monkeypatch.setattr("backhaul.adapters.aws.credentials._LOOK_AGAIN_S", 0.0)
    monkeypatch.setenv(name, "good")
    with pytest.raises(OutageError, match="E_AWS_CREDENTIALS"):
        reader.get(endpoint, pin)  # the one that notices is the last one to be refused
    aws.credentials.get_frozen_credentials()


@pytest.mark.usefixtures("nothing")
def test_a_secret_with_a_blank_inside_is_one() -> None:
    """It is never sent, and some servers take any sentence as one."""
    credentials = AwsCredentials()
    credentials._found = Credentials("k", "a horse of course")
    assert credentials.get_frozen_credentials().secret_key == "a horse of course"


@pytest.mark.usefixtures("nothing")
def test_what_the_http_library_says_of_a_header_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """STS gets the keys as they are in the profile."""
    (tmp_path / "config").write_text(
        "[default]\nregion = us-east-1\nrole_arn = arn:aws:iam::123456789012:role/r\n"
        "source_profile = base\n[profile base]\naws_access_key_id = AKIA\n"
        "aws_secret_access_key = s\naws_session_token = VERY\n  SECRET\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    with pytest.raises(OutageError, match="ValueError") as caught:
        S3Store(AwsSession("us-east-1")).list_page("b", "p/")
    assert "SECRET" not in repr(caught.value)


@pytest.mark.parametrize(
    ("code", "message", "kind", "ours"),
    [
        ("KMS.DisabledException", "", OutageError, "E_SRC_KMS"),
        ("KMS.KMSInvalidStateException", "", OutageError, "E_SRC_KMS"),
        ("KMSInvalidState", "", OutageError, "E_SRC_KMS"),
        ("KMS.NotFoundException", "", PermanentError, "E_SRC_DENIED"),
        (
            "AccessDenied",
            "is not authorized to perform: kms:Decrypt",
            PermanentError,
            "E_SRC_DENIED",
        ),
        ("KMS.ThrottlingException", "", TransientError, "E_S3_THROTTLED"),
        ("KMS.LimitExceededException", "", TransientError, "E_S3_THROTTLED"),
    ],
)
def test_a_key_that_is_off_holds_and_a_missing_right_is_the_objects(
    code: str, message: str, kind: type[BackhaulError], ours: str
) -> None:
    pin = Pin(bucket="b", key="k", size_bytes=1, etag="e", last_modified=datetime.now(UTC))
    error = object_error(
        ErrorAnswer(status=400, code=code, message=message, region=""), pin, "s3://b/k"
    )
    assert (type(error), error.code) == (kind, ours)
    if kind is PermanentError:
        assert "kms:Decrypt" in error.hint


@pytest.mark.parametrize("named", ["-1", "0", "us-", "not a region!", "a\n", "x" * 50, ""])
def test_a_region_that_cannot_be_is_not_followed(named: str) -> None:
    assert _region_in({"x-amz-bucket-region": named}) == ""
    assert _region_in({"x-amz-bucket-region": "eu-north-1"}) == "eu-north-1"


def test_bucket_that_botocore_makes_no_address_of_is_the_messages_fault() -> None:
    error = made(botocore.exceptions.EndpointProviderError)
    assert listing_error(error, "b--x-s3", "s3://b--x-s3/").code == "E_SRC_BUCKET"


# ---------------------------------------------------------------- regions and endpoints


@pytest.mark.usefixtures("nothing")
def test_s3s_region_is_awss_own_setting_else_the_argument(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    assert AwsSession("eu-west-1").s3_region == "eu-west-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert AwsSession("eu-west-1").s3_region == "eu-west-2"
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert AwsSession("eu-west-1").s3_region == "eu-west-3"


@pytest.mark.usefixtures("nothing")
def test_sqs_goes_to_the_argument_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    monkeypatch.delenv("AWS_ENDPOINT_URL_SQS", raising=False)
    client = AwsSession("eu-west-1").client("sqs", Config())

    assert client.meta.endpoint_url == "https://sqs.eu-west-1.amazonaws.com"


@pytest.mark.usefixtures("nothing")
def test_unknown_profile_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    with pytest.raises(ConfigurationError) as caught:
        AwsSession("eu-west-1").client("sqs", Config())
    assert caught.value.code == "E_AWS_CONFIG"


def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str) -> None:
    """These lines of the profile, or this variable."""
    if "\n" in settings:
        (tmp_path / "config").write_text(settings)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    else:
        monkeypatch.setenv(*settings.split("=", 1))


ACCELERATE = "[default]\ns3 =\n  use_accelerate_endpoint = true\n"
FIPS = "[default]\nuse_fips_endpoint = true\n"


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize("service", ["s3", "sqs"])
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("[default]\napi_versions = word\n", "api_versions"),
        ("[default]\ns3 =\n  addressing_style = bogus\n", "addressing style"),
        ("AWS_STS_REGIONAL_ENDPOINTS=bogus", "STS regional endpoints"),
        ("AWS_S3_US_EAST_1_REGIONAL_ENDPOINT=bogus", "us-east-1 regional endpoint"),
        ("[default]\nservices = nope\n", "nope"),
    ],
)
def test_a_setting_that_no_client_can_be_made_with_is_a_configuration_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    service: Literal["s3", "sqs"],
    settings: str,
    named: str,
) -> None:
    configured(tmp_path, monkeypatch, settings)
    with pytest.raises(ConfigurationError) as caught:
        AwsSession("eu-west-1").client(service, Config())
    assert (caught.value.code, caught.value.hint) == ("E_AWS_CONFIG", HINT_CONFIG)
    assert named in caught.value.message


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize(
    ("region", "settings", "named"),
    [
        ("eu-west-1", "[default]\ns3 = word\n", "s3"),
        ("eu-west-1", "[default]\nservices = x\n[services x]\ns3 = word\n", "services x"),
        ("cn-north-1", FIPS, "FIPS"),
        ("cn-north-1", ACCELERATE, "Accelerate"),
        ("eu-west-1", f"{ACCELERATE}endpoint_url = https://127.0.0.1:9\n", "Accelerate"),
        ("eu-west-1", f"{ACCELERATE}use_fips_endpoint = true\n", "FIPS"),
    ],
)
def test_settings_that_give_no_bucket_an_address_are_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str, settings: str, named: str
) -> None:
    configured(tmp_path, monkeypatch, settings)
    session = AwsSession(region)
    with pytest.raises(ConfigurationError) as caught:
        session.client("s3", Config())
    assert (caught.value.code, caught.value.hint) == ("E_AWS_CONFIG", HINT_CONFIG)
    assert named in caught.value.message

    session.client("sqs", Config())  # has nothing to do with it


@pytest.mark.usefixtures("nothing")
def test_a_name_that_these_settings_give_no_address_is_the_bucket_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(tmp_path, monkeypatch, ACCELERATE)
    with pytest.raises(PermanentError) as caught:
        S3Store(AwsSession("eu-west-1")).list_page("a.bucket", "p/")
    assert caught.value.code == "E_SRC_BUCKET"


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize("region", ["not a region", "x/../y"])
def test_nonsense_region_is_a_configuration_error(region: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AwsSession(region).client("sqs", Config())
    assert caught.value.code == "E_AWS_CONFIG"


@pytest.mark.parametrize(
    "url",
    ["https://s3.example.com", "http://127.0.0.1:1", "http://[::1]:9000/x", "http://localhost"],
)
def test_https_and_this_machine_are_let_pass(url: str) -> None:
    refuse_plain_http(url, "x")


@pytest.mark.parametrize(
    "url",
    [
        "http://s3.example.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "http://user:pw@example.com",
        "",
    ],
)
def test_plain_http_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        refuse_plain_http(url, "x")
    assert caught.value.code == "E_CFG_TLS"
    assert "pw" not in caught.value.message


def test_loopback_is_judged_as_an_address_not_as_text() -> None:
    assert is_loopback("127.8.8.8")
    assert not is_loopback("127.evil")


def test_requests_name_backhaul_to_awss_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    once = Config(retries={"total_max_attempts": 1})
    client: Any = AwsSession("eu-west-1").client("sqs", once)
    sent: list[str] = []

    def keep(request: Any, **_: object) -> AWSResponse:
        sent.append(str(request.headers["User-Agent"], "ascii"))
        return AWSResponse(request.url, 200, HTTPHeaders(), None)

    client.meta.events.register("before-send.sqs", keep)
    monkeypatch.setattr(AWSResponse, "content", b"{}")
    client.list_queues()

    (said,) = sent
    assert said.startswith(f"backhaul/{__version__} Botocore/")


@pytest.mark.parametrize(
    "date",
    [
        f"Mon, 01 Jan 2020 00:00:00 +{'9' * 20}",
        f"Mon, {'9' * 20} Jan 2020 00:00:00 GMT",
        f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT",
        "Mon, 01 Jan 2020 00:00:00 +9999",
        "Mon, 01 Jan 2020 99:99:99 GMT",
        "9" * 5000,
        "nonsense",
        "",
    ],
)
def test_a_date_that_is_none_changes_nothing(date: str) -> None:
    aws = AwsSession("us-east-1")
    aws.clock_skew_s = 7.0
    aws._look_at_clock(SimpleNamespace(headers=HTTPHeaders.from_dict({"Date": date})))
    assert aws.clock_skew_s == 7.0


# ---------------------------------------------------------------- while the agent runs


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the built-in bundle, named by AWS_CA_BUNDLE."""
    path = tmp_path / "bundle.pem"
    shutil.copy(str(get_cert_path(verify=True)), path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    return path


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Takes connections, so that what fails is the look at the bundle."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        yield url


@pytest.mark.parametrize("what", ["gone", "damaged"])
@pytest.mark.parametrize("call", ["queue", "listing", "endpoint", "get", "probe"])
def test_a_bundle_that_is_lost_while_the_agent_runs_holds_and_is_named(
    bundle: Path, listener: str, monkeypatch: pytest.MonkeyPatch, call: str, what: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    aws = AwsSession("us-east-1")
    store, reader = S3Store(aws), ObjectReader(aws.credentials, 1)
    queue = SqsQueue(f"{listener}/1/q", aws, SystemClock())
    queue.facts = QueueFacts(
        url=f"{listener}/1/q", name="q", arn="", dead_letter_url=None, dead_letter_name=None,
        max_receive_count=None,
    )  # fmt: skip
    endpoint = Endpoint(base_url=f"{listener}/b/", region="us-east-1", ca_bundle=aws.ca_bundle)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    pin = Pin(bucket="b", key="k", size_bytes=1, etag="e", last_modified=at)
    bundle.unlink()
    if what == "damaged":
        bundle.write_text("nothing of use")
    calls: dict[str, Callable[[], object]] = {
        "queue": lambda: queue.send("b/p, /d"),
        "listing": lambda: store.list_page("b", "p/"),
        "endpoint": lambda: store.endpoint("b"),
        "get": lambda: reader.head(endpoint, pin),
        "probe": lambda: reader.check_reachable(endpoint),
    }
    with pytest.raises(OutageError) as caught:
        calls[call]()
    assert caught.value.code in {"E_S3_UNREACHABLE", "E_SQS_UNREACHABLE"}
    assert str(bundle) in caught.value.message
    S3Store(aws)  # a client that is made later is made, and holds


@pytest.mark.usefixtures("nothing")
def test_awss_files_that_break_while_the_agent_runs_hold_its_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(AwsSession("us-east-1"))
    broken = ConfigurationError("E_AWS_CONFIG", "~/.aws/config cannot be read")

    def refuse(*_: object, **__: object) -> None:
        raise broken

    monkeypatch.setattr(AwsSession, "client", refuse)
    store._clients.clear()
    for call in (lambda: store.list_page("b", "p/"), lambda: store.endpoint("b")):
        with pytest.raises(OutageError) as caught:
            call()
        assert (caught.value.code, caught.value.dependency) == ("E_AWS_CONFIG", "credentials")
