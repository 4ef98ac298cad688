"""What a refused Publish means: only a message that SNS does not take is refused for good."""

from __future__ import annotations

import pytest
from botocore.exceptions import ConnectTimeoutError

from backhaul.adapters.aws.errors import topic_error
from backhaul.core.errors import BackhaulError, OutageError, PermanentError, TransientError
from tests.unit.test_aws_errors import EVERY_BOTOCORE_ERROR, answer, made


@pytest.mark.parametrize(
    ("code", "status", "kind", "ours"),
    [
        ("NotFound", 404, TransientError, "E_TOPIC_NOT_FOUND"),
        ("NotFoundException", 404, TransientError, "E_TOPIC_NOT_FOUND"),
        ("InvalidParameter", 400, PermanentError, "E_REPLY_REFUSED"),
        ("ParameterValueInvalid", 400, PermanentError, "E_REPLY_REFUSED"),
        ("AuthorizationError", 403, OutageError, "E_AWS_DENIED"),
        ("AccessDenied", 403, OutageError, "E_AWS_DENIED"),
        ("InvalidClientTokenId", 403, OutageError, "E_AWS_DENIED"),
        ("ExpiredToken", 403, OutageError, "E_AWS_EXPIRED"),
        ("KMSDisabled", 400, TransientError, "E_SNS_KMS"),
        ("KMSAccessDenied", 400, TransientError, "E_SNS_KMS"),
        ("Throttled", 429, TransientError, "E_SNS_THROTTLED"),
        ("ThrottledException", 429, TransientError, "E_SNS_THROTTLED"),
        ("InternalError", 500, TransientError, "E_SNS_UNREACHABLE"),
        ("ServiceUnavailable", 503, TransientError, "E_SNS_UNREACHABLE"),
        ("NoSuchCode", 400, TransientError, "E_AWS_UNEXPECTED"),
    ],
)
def test_a_refusal_by_its_code(
    code: str, status: int, kind: type[BackhaulError], ours: str
) -> None:
    error = topic_error(answer(code, status), "topic t")
    assert (type(error), error.code) == (kind, ours)
    assert "topic t" in error.message


def test_a_missing_right_is_named() -> None:
    assert "sns:Publish" in topic_error(answer("AuthorizationError", 403), "topic t").hint


def test_no_answer_passes() -> None:
    error = topic_error(ConnectTimeoutError(endpoint_url="https://sns"), "topic t")
    assert (type(error), error.code) == (TransientError, "E_SNS_UNREACHABLE")


@pytest.mark.parametrize("cls", EVERY_BOTOCORE_ERROR, ids=lambda cls: cls.__name__)
def test_nothing_of_botocore_passes_through(cls: type[Exception]) -> None:
    assert isinstance(topic_error(made(cls), "topic t"), BackhaulError)  # type: ignore[arg-type]
