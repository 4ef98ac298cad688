"""`backhaul doctor`: how probes are run, how their findings become lines and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, exit_code_of, from_error
from backhaul.app.doctor.probes import Section
from backhaul.app.doctor.run import examine
from backhaul.cli import doctor
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


def test_what_another_user_should_type_is_what_was_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typed: list[tuple[str, ...]] = []

    def keep(context: DoctorContext, *_: object, **__: object) -> int:
        typed.append(context.arguments)
        return 0

    monkeypatch.setattr("backhaul.app.doctor.context.read_context", lambda **_: CONTEXT)
    monkeypatch.setattr(doctor, "_examine", keep)

    def again(*arguments: str) -> tuple[str, ...]:
        doctor.command.main(list(arguments), standalone_mode=False)
        return typed[-1]

    monkeypatch.delenv("BACKHAUL_CONFIG", raising=False)
    bundle = str(tmp_path / "b.tar.gz")
    options = ["--route", "a b", "--config", "c.toml", "--allow", "x -> y", "--allow", "z -> w"]
    found = again("--json", *options, "q", "eu-west-1", "--offline", "--bundle", bundle)
    assert found[:2] == ("q", "eu-west-1")
    assert sorted(found[2:]) == sorted([*options, "--offline"])
    assert again() == ()
    monkeypatch.setenv("BACKHAUL_CONFIG", "d.toml")
    assert again("q", "eu-west-1") == ("q", "eu-west-1", "--config", "d.toml"), "sudo drops it"
    context = replace(CONTEXT, arguments=again("q", "eu-west-1", "--route", "a b"))
    assert context.as_user("hdfs") == (
        "sudo -u hdfs backhaul doctor q eu-west-1 --route 'a b' --config d.toml"
    )


def test_json_has_no_secret() -> None:
    secret = "secret_access_key=0123456789abcdef"
    finding = Finding("a", secret, State.FAILED, secret, fix=(secret,))
    assert "0123456789" not in str(finding.as_json)
