"""What a command loads and when: each library costs a start, and some need not be waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.config import Config

from backhaul.adapters.aws.clients import AwsSession

pytestmark = pytest.mark.slow  # each test starts a process


def ran(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def loaded_by(module: str) -> set[str]:
    return set(ran(f"import sys, {module}; print(*sys.modules)").split())


def test_what_starts_a_worker_loads_neither_database_nor_aws() -> None:
    loaded = loaded_by("backhaul.app.copy")
    assert "backhaul.engines.pool" in loaded
    assert not {"sqlalchemy", "botocore", "boto3", "alembic"} & loaded


def test_help_loads_no_client_library() -> None:
    code = (
        "import sys; from backhaul.cli import cli; "
        "cli.main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    loaded = {name.split(".")[0] for name in ran(code).splitlines()[-1].split()}
    assert "click" in loaded
    heavy = {"boto3", "botocore", "sqlalchemy", "rich", "hdfs_native", "pydantic", "alembic"}
    assert not heavy & loaded
    assert "backhaul.adapters" not in loaded_by("backhaul.cli")


def test_a_workers_configuration_is_made_without_aws() -> None:
    assert "botocore" not in loaded_by("backhaul.app.ports")


def test_the_ledger_loads_no_database_but_sqlite() -> None:
    loaded = loaded_by("backhaul.adapters.ledger")
    assert "sqlalchemy.dialects.sqlite" in loaded
    assert "sqlalchemy.dialects.postgresql" not in loaded


def test_clients_are_made_without_boto3() -> None:
    code = (
        "import sys; from botocore.config import Config;"
        "from backhaul.adapters.aws.clients import AwsSession;"
        "aws = AwsSession('eu-west-1');"
        "made = [aws.client(one, Config()).meta for one in ('s3', 'sqs')];"
        "print(*(one.service_model.service_name for one in made), 'boto3' in sys.modules)"
    )
    assert ran(code) == "s3 sqs False"


def test_at_the_end_no_garbage_is_looked_for() -> None:
    code = (
        "import atexit, gc; from backhaul.cli import main;"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000));"
        "main(['--version'])"
    )
    assert ran(code).split()[-1] == "True"


def test_a_worker_loads_the_hdfs_client_ahead_only_where_hadoop_is_configured() -> None:
    for has_hdfs in (True, False):
        code = (
            f"import sys; from backhaul import worker; worker._preload({has_hdfs});"
            "print(*sys.modules)"
        )
        loaded = set(ran(code).split())
        assert "backhaul.adapters.aws.s3_get" in loaded
        assert ("hdfs_native" in loaded) is has_hdfs


def test_data_of_services_is_looked_for_where_the_profile_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~` and variables in it are filled in, as the library does."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODELS", str(tmp_path / "more"))
    monkeypatch.setenv("AWS_DATA_PATH", f"~/models{os.pathsep}$MODELS")
    aws = AwsSession("eu-west-1")
    aws.client("sqs", Config())
    paths = aws._session.get_component("data_loader").search_paths
    assert {str(tmp_path / "models"), str(tmp_path / "more")} <= set(paths)
