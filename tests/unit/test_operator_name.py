"""Who a command is done by."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from backhaul.adapters.system import operator_name as module
from backhaul.adapters.system.operator_name import operator_name

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "loginuid"
    monkeypatch.setattr(module, "_LOGIN_UID", path)
    monkeypatch.setattr(module, "host_name", lambda: "edge1")
    monkeypatch.delenv("SUDO_USER", raising=False)
    return path


@pytest.mark.parametrize("text", [None, "4294967295", "", "x"])
def test_without_a_login_it_is_sudos_user_then_the_processes_own(
    login: Path, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        login.write_text(text, "ascii")
    assert operator_name() == f"{ME}@edge1"
    monkeypatch.setenv("SUDO_USER", "alice")
    assert operator_name() == "alice@edge1"


def test_who_logged_in_counts_more_than_sudos_variable(
    login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login.write_text(f"{os.geteuid()}", "ascii")
    monkeypatch.setenv("SUDO_USER", "someone else")
    assert operator_name() == f"{ME}@edge1"


def test_a_user_without_a_name_is_a_number(login: Path) -> None:
    login.write_text("3999999999", "ascii")
    assert operator_name() == "3999999999@edge1"
