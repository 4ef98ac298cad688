"""`backhaul doctor`: how probes are run, how their findings become lines and an exit code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, exit_code_of, from_error
from backhaul.app.doctor.probes import Section
from backhaul.app.doctor.run import examine
from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    ConfigurationError,
    ExitCode,
    NotAllowed,
    OutageError,
)
from backhaul.settings.model import Settings

CONTEXT = DoctorContext(
    loaded=None, fault=None, settings=Settings.model_construct(), config_path=None
)
FINE = Finding("a.fine", "", State.OK, "it is fine")


def breaking(error: Exception) -> list[Finding]:
    def probe(_context: DoctorContext) -> Iterator[Finding]:
        yield FINE
        raise error

    section = Section("a", (probe, lambda _context: [FINE]))
    return [finding for _, finding in examine(CONTEXT, [section])]


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (ConfigurationError("E_CFG_FILE", "gone", "make it"), "E_CFG_FILE", 78),
        (NotAllowed("E_AWS_DENIED", "gone", "make it"), "E_AWS_DENIED", 77),
        (CannotWrite("E_DST_DENIED", "gone", "make it"), "E_DST_DENIED", 77),
        (OutageError.of("s3", "E_S3", "gone", hint="make it"), "E_S3", 69),
    ],
)
def test_an_error_of_ours_is_a_finding_with_its_hint(
    error: BackhaulError, code: str, exit_code: int
) -> None:
    first, broken, last = breaking(error)
    assert (first, last) == (FINE, FINE), "what was found before and after stays"
    assert (broken.state, broken.code, broken.text) == (State.FAILED, code, "gone")
    assert broken.fix == ("make it",)
    assert exit_code_of([first, broken, last]) == exit_code


@pytest.mark.parametrize("error", [OSError(2, "No such file", "/x"), KeyError("x"), ValueError()])
def test_a_probe_that_breaks_is_a_finding_and_no_traceback(error: Exception) -> None:
    first, broken, last = breaking(error)
    assert (first, last) == (FINE, FINE)
    assert broken.state is State.FAILED
    assert (broken.code == "E_BUG") == (not isinstance(error, OSError))


def test_the_configuration_counts_before_permissions_and_those_before_outages() -> None:
    outage = from_error("a", "", OutageError.of("s3", "E_S3", "s"))
    denied = from_error("a", "", NotAllowed("E_AWS_DENIED", "s"))
    wrong = from_error("a", "", ConfigurationError("E_CFG_FILE", "s"))
    assert exit_code_of([outage, denied, wrong]) == ExitCode.CONFIGURATION
    assert exit_code_of([outage, denied]) == ExitCode.NOT_ALLOWED
    assert exit_code_of([FINE, outage]) == ExitCode.UNAVAILABLE


def test_warnings_and_what_was_not_probed_are_no_failures() -> None:
    found = [Finding("a", "", state, "s") for state in (State.WARNING, State.SKIPPED, State.OK)]
    assert exit_code_of(found) == ExitCode.OK


def test_offline_calls_no_probe_that_needs_the_network() -> None:
    def probe(_context: DoctorContext) -> Iterator[Finding]:
        raise AssertionError("called")

    offline = DoctorContext(
        loaded=None, fault=None, settings=CONTEXT.settings, config_path=None, is_offline=True
    )
    ((_, finding),) = examine(offline, [Section("sqs", (probe,), needs_network=True)])
    assert finding.state is State.SKIPPED


def test_json_has_no_secret() -> None:
    secret = "secret_access_key=0123456789abcdef"
    finding = Finding("a", secret, State.FAILED, secret, fix=(secret,))
    assert "0123456789" not in str(finding.as_json)
