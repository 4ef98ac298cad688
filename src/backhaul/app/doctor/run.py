"""Runs the probes; one that breaks is a finding, and the others go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error
from backhaul.app.doctor.probes import SECTIONS, Probe, Section
from backhaul.core.errors import BackhaulError, ExitCode
from backhaul.core.text import redacted


def examine(
    context: DoctorContext, sections: Iterable[Section] = SECTIONS
) -> Iterator[tuple[str, Finding]]:
    """The heading of each finding and the finding, as soon as it is known."""
    for section in sections:
        if section.needs_network and context.is_offline:
            yield section.name, Finding(section.name, "", State.SKIPPED, "not probed: --offline")
            continue
        for probe in section.probes:
            for finding in _guarded(section.name, probe, context):
                yield section.name, finding


def _guarded(section: str, probe: Probe, context: DoctorContext) -> Iterator[Finding]:
    try:
        yield from probe(context)
    except BackhaulError as error:
        yield from_error(section, "", error)
    except OSError as error:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        yield Finding(section, "", State.FAILED, f"{where}{error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - a defect in one probe must not hide what the others find
        yield Finding(
            section,
            "",
            State.FAILED,
            f"this probe broke: unexpected {type(error).__name__}: {redacted(str(error))}",
            code="E_BUG",
            fix=("this is a defect in Backhaul: report it with the output of `backhaul doctor`",),
            exit_code=ExitCode.UNAVAILABLE,
        )
