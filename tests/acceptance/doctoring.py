"""The doctor's probes of targets in this process, with real workers on real servers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul.app.doctor.context import read_context
from backhaul.app.doctor.finding import Finding, State
from backhaul.app.doctor.probes import SECTIONS
from backhaul.app.doctor.run import examine

if TYPE_CHECKING:
    import pytest

OF_TARGETS = frozenset({"hadoop", "hdfs", "mounted targets"})


class Doctor:
    """Routes are written to a file of its own, and the environment is that of the test."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._home = home
        self._monkeypatch = monkeypatch
        self._numbers = itertools.count(1)

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def findings(
        self,
        places: Mapping[str, str],
        *,
        more: str = "",
        run_as: str | None = None,
        sections: frozenset[str] = OF_TARGETS,
    ) -> dict[str, Finding]:
        """The finding of each route, and all others by their check; a route has one.

        Args:
            places: Route to destination.
            more: Of the configuration file.
        """
        path = self._home / f"doctor-{next(self._numbers)}.toml"
        user = f'run_as = "{run_as}"\n' if run_as else ""
        routes = "".join(
            f'[[route]]\nname = "{name}"\nsource = ["s3://bucket/{name}/"]\n'
            f'destination = ["{place}"]\n{user}'
            for name, place in places.items()
        )
        path.write_text(f'ledger = "{self._home}/ledger.db"\n{more}\n{routes}')
        path.chmod(0o644)
        context = read_context(config=path)
        assert context.fault is None, context.fault
        chosen = [one for one in SECTIONS if one.name in sections]
        found = [finding for _, finding in examine(context, chosen)]
        return {one.route or one.check: one for one in found}


def shown(found: Finding) -> str:
    """As a person reads it."""
    return "\n".join([found.text, *found.fix])


def assert_red(found: Finding, check: str, *words: str) -> None:
    """It failed by this check, and these words are on the screen."""
    assert (found.check, found.state) == (check, State.FAILED), found
    for word in words:
        assert word in shown(found), found
