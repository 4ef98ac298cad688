"""Probes of what every call of AWS needs: proxy, certificates, keys, and the clock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from backhaul.access import user_name
from backhaul.adapters.aws.probing.identity import caller, source_of_keys
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error
from backhaul.app.doctor.fixes import CLOCK, for_network
from backhaul.app.start import CLOCK_SKEW_MAX_S
from backhaul.core.errors import BackhaulError, ConfigurationError, ExitCode

AWS_REFUSES_FROM_S = 900
_PROXY_SCHEMES = frozenset({"http", "https"})
_STAND_INS = ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_S3")


def proxy(context: DoctorContext) -> Iterator[Finding]:
    """Whether HTTPS_PROXY is a URL."""
    if context.proxy is None:
        yield Finding("aws.proxy", "", State.OK, "no proxy: HTTPS_PROXY is not set")
        return
    try:
        parts = urlsplit(context.proxy)
        is_url = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if is_url:
        yield Finding("aws.proxy", "", State.OK, f"HTTPS_PROXY is {context.proxy}")
        return
    yield Finding(
        "aws.proxy",
        "HTTPS_PROXY",
        State.FAILED,
        f"HTTPS_PROXY is {context.proxy!r}, which is no URL of a proxy",
        fix=("export HTTPS_PROXY=http://PROXY:3128", "or, without a proxy: unset HTTPS_PROXY"),
        exit_code=ExitCode.CONFIGURATION,
    )


def certificates(context: DoctorContext) -> Iterator[Finding]:
    """The bundle that AWS_CA_BUNDLE and its like name; that nothing checks none."""
    try:
        bundle = context.aws.ca_bundle
    except ConfigurationError as error:
        yield from_error(
            "aws.certificates",
            "AWS_CA_BUNDLE",
            error,
            fix=(
                "export AWS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt",
                "or, for the built-in certificates: unset AWS_CA_BUNDLE",
            ),
        )
        return
    text = f"those of {bundle} are trusted" if bundle else "the built-in ones are trusted"
    yield Finding("aws.certificates", "", State.OK, text)


def keys(context: DoctorContext) -> Iterator[Finding]:
    """Where the keys come from; none of them is shown."""
    try:
        source = source_of_keys(context.aws)
    except BackhaulError as error:
        yield from_error("aws.credentials", "", error, fix=_fix(error))
        return
    yield Finding("aws.credentials", "", State.OK, f"found: {source}")


def identity(context: DoctorContext) -> Iterator[Finding]:
    """Whom AWS takes this process for. The agent works without STS, so its silence is a warning."""
    if _has_stand_in():
        text = "SQS or S3 is a server of yours, and no AWS_ENDPOINT_URL_STS is set"
        yield Finding("aws.identity", "", State.SKIPPED, text)
        return
    try:
        found = caller(context.aws)
    except BackhaulError as error:
        if error.code in {"E_AWS_NO_CREDENTIALS", "E_AWS_CREDENTIALS"}:
            return  # `keys` has reported it
        is_refusal = error.code in {"E_AWS_DENIED", "E_AWS_EXPIRED", "E_AWS_CLOCK"}
        if is_refusal or isinstance(error, ConfigurationError):
            yield from_error("aws.identity", "", error, fix=_fix(error))
            return
        yield Finding(
            "aws.identity",
            "",
            State.WARNING,
            f"STS does not answer, which the agent does not need: {error.message}",
            code=error.code,
            fix=for_network(error, context.proxy),
        )
        return
    yield Finding("aws.identity", "", State.OK, f"{found.arn}, account {found.account}")


def _has_stand_in() -> bool:
    if os.environ.get("AWS_ENDPOINT_URL_STS") or os.environ.get("AWS_ENDPOINT_URL"):
        return False
    return any(os.environ.get(name) for name in _STAND_INS)


def _fix(error: BackhaulError) -> tuple[str, ...]:
    match error.code:
        case "E_AWS_NO_CREDENTIALS":
            named = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
            return (
                f"write it into {Path(named).expanduser()}, mode 0600, owned by {user_name()}:",
                "  [default]",
                "  aws_access_key_id = ...",
                "  aws_secret_access_key = ...",
                "or name a profile of ~/.aws/config: export AWS_PROFILE=NAME",
                "or, for the service alone, AWS_ACCESS_KEY_ID=... into /etc/backhaul/agent.env",
                "or fs.s3a.access.key and fs.s3a.secret.key in HADOOP_CONF_DIR/core-site.xml",
            )
        case "E_AWS_EXPIRED":
            return (
                "renew the session: aws sso login, or new AWS_SESSION_TOKEN",
                "aws sts get-caller-identity",
            )
        case "E_AWS_DENIED":
            return (
                "AWS does not know this access key, or its secret key is another one's:",
                "aws sts get-caller-identity",
            )
        case "E_AWS_CLOCK":
            return CLOCK
        case _:
            return tuple(error.hint.splitlines())


def clock(context: DoctorContext) -> Iterator[Finding]:
    """Against the date of the last answer; after all other probes of AWS."""
    skew_s = context.aws.clock_skew_s
    if not context.aws.has_seen_clock:
        yield Finding("clock", "", State.SKIPPED, "AWS has not answered, so its time is not known")
        return
    way = "ahead of" if skew_s > 0 else "behind"
    text = f"this machine's clock is {abs(skew_s):.0f} s {way} AWS's"
    if abs(skew_s) <= CLOCK_SKEW_MAX_S:
        yield Finding("clock", "", State.OK, f"{text}, to a second")
    elif abs(skew_s) < AWS_REFUSES_FROM_S:
        text = f"{text}; from 15 minutes on AWS refuses every request"
        yield Finding("clock", "", State.WARNING, text, code="W_CLOCK", fix=CLOCK)
    else:
        yield Finding(
            "clock", "", State.FAILED, f"{text}: it refuses requests", code="E_AWS_CLOCK", fix=CLOCK
        )


PROBES = (proxy, certificates, keys, identity)
AT_THE_END = (clock,)
