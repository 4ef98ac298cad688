"""Errors cross the pipe from a worker unchanged."""

from __future__ import annotations

import pickle

import pytest

from backhaul.core import errors
from backhaul.core.errors import BackhaulError, OutageError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BackhaulError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_error_survives_pickling(kind: type[BackhaulError]) -> None:
    error = kind("E_X", "what: 3 B", hint="fix it")
    found = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert type(found) is kind
    assert (found.code, found.message, found.hint) == ("E_X", "what: 3 B", "fix it")
    assert str(found) == "E_X: what: 3 B"


def test_outage_keeps_its_dependency() -> None:
    error = OutageError.of("hdfs", "E_X", "down", hint="wait")
    found = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert (found.dependency, found.code, found.hint) == ("hdfs", "E_X", "wait")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_sentence_for_the_operator(kind: type[BackhaulError]) -> None:
    assert kind.__doc__
    assert kind.exit_code in errors.ExitCode
