"""The quick start against what `backhaul init` prints: nothing has to be known that is not shown.

That its commands work, on real servers and with the package: `tests/packages/test_quickstart.py`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

import pytest

from backhaul import cli
from backhaul.app.init import files, run
from backhaul.core.errors import ExitCode
from tests.docs.manual import first_copy

MOST = 12


def _words(command: str) -> Counter[str]:
    """An option may be anywhere; a message is an example."""
    message = "s3://acme-raw/click/day=01/, /landing/click/day=01"
    return Counter(
        shlex.split(
            " ".join(command.split()).replace(message, "s3://acme-raw/click/, /landing/click/")
        )
    )


def test_twelve_commands_suffice_and_init_prints_those_that_follow_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install, init, *rest = first_copy()
    assert len(rest) + 2 <= MOST
    assert install.startswith("apt-get install ./backhaul_")
    program, command, *arguments = shlex.split(init)
    assert (program, command) == ("backhaul", "init")

    # As root on a node of its own: the configuration is the service's.
    template = tmp_path / "aws.json"
    arguments[-1:] = [str(template)]
    system = tmp_path / "etc" / "backhaul" / "backhaul.toml"
    monkeypatch.setattr(files, "default_config_path", lambda: system)
    monkeypatch.setattr(run, "default_config_path", lambda: system)
    for module in (files, run):
        monkeypatch.setattr(module, "SYSTEM_CONFIG", system)
    with pytest.raises(SystemExit) as ended:
        cli.main(["init", *arguments])
    assert ended.value.code == ExitCode.OK
    printed = capsys.readouterr().out.replace(str(template), "/etc/backhaul/aws.json")
    _, _, following = printed.partition("Next:\n")
    shown = [
        _words(each)
        for line in following.splitlines()
        if not line.startswith("  # ")
        for each in line.strip().split(" && ")
    ]
    for each in rest:
        assert _words(each) in shown, f"init does not print: {each}\n{printed}"
