"""A defect of a command: its traceback is printed, without secrets."""

from __future__ import annotations

import pytest

from backhaul import cli
from backhaul.core.errors import ExitCode


def test_traceback_of_a_defect_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        error = RuntimeError("GET https://b/k?X-Amz-Signature=c0ffee")
        raise error from ValueError('fs.s3a.secret.key: "two c0ffee"')

    monkeypatch.setattr(cli.cli, "main", broken)
    with pytest.raises(SystemExit) as caught:
        cli.main(["status"])

    printed = capsys.readouterr().err
    assert caught.value.code == ExitCode.BUG
    assert "Traceback" in printed
    assert "E_BUG: unexpected RuntimeError: GET https://b/k?X-Amz-Signature=***" in printed
    assert 'fs.s3a.secret.key: "***"' in printed
    assert "c0ffee" not in printed
