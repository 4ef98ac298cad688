"""The command line of DistCp, and the errors of its client."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.system.governor import GovernorSpec
from backhaul.adapters.system.reservations import Reservations
from backhaul.core.errors import OutageError, TransientError
from backhaul.core.model import Source
from backhaul.core.ports.cluster import Application, AppState, ClusterRules, CopyJob, app_state
from backhaul.core.rate_limit import Schedule
from backhaul.core.transfer.cluster.engine_choice import Load, copy_job, maps_for
from backhaul.engines.distcp import DistCp, arguments, client_error, rate, source_uri, within

GIB = 1024**3
HIDDEN = ",".join(
    f"fs.s3a.{name}"
    for name in (
        "access.key",
        "secret.key",
        "session.token",
        "encryption.key",
        "server-side-encryption.key",
    )
)
LOAD = Load(objects=16, size_bytes=8 * GIB, largest_bytes=GIB)


def job(*, load: Load = LOAD, keys: tuple[str, ...] | None = None, **rules: object) -> CopyJob:
    return copy_job(
        transfer_id="0AB",
        epoch=7,
        source=Source(bucket="raw", key="p/"),
        keys=keys,
        target="hdfs://ns1/land/.backhaul/0123/7",
        load=load,
        rules=ClusterRules(**rules),  # type: ignore[arg-type]
        checksum_type="CRC32C",
    )


def test_the_command_line_is_what_it_is() -> None:
    assert arguments(job(queue="etl", bandwidth_bytes=200 * 1024**2), None) == (
        "distcp",
        "-Dmapreduce.job.name=backhaul-bh-0ab-7",
        "-Dmapreduce.job.tags=bh-0ab,bh-0ab-7",
        f"-Dmapreduce.job.redacted-properties={HIDDEN}",
        "-Dmapreduce.jobhistory.jhist.format=json",
        "-Ddfs.checksum.type=CRC32C",
        "-Dmapreduce.job.queuename=etl",
        "-async",
        "-overwrite",
        "-direct",
        "-m",
        "16",
        "-numListstatusThreads",
        "1",
        "-bandwidth",
        "12",
        "s3a://raw/p/",
        "hdfs://ns1/land/.backhaul/0123/7",
    )


MIB = 1024**2


def test_keys_of_single_buckets_are_hidden_too() -> None:
    found = HadoopConfiguration(
        values={"fs.s3a.bucket.raw.secret.key": "s", "fs.s3a.bucket.raw.endpoint": "e"}
    )
    words = arguments(job(), None, found.secret_names())
    assert "-Dmapreduce.job.redacted-properties=fs.s3a.bucket.raw.secret.key" in words


@pytest.mark.parametrize(
    ("wanted_mib", "limit_mib", "given"),
    [
        (None, None, None),
        (None, 160, 10),  # 16 mappers
        (None, 16_000, 100),  # DistCp's own, of each mapper
        (3200, 160, 10),
        (160, 3200, 10),
        (None, 1, 1),  # no less than DistCp can express, of one mapper then
    ],
)
def test_each_mapper_gets_its_share_of_the_limit(
    wanted_mib: int | None, limit_mib: int | None, given: int | None
) -> None:
    made = job(bandwidth_bytes=wanted_mib * MIB if wanted_mib else None)
    assert made.maps == 16
    fitted = within(made, limit_mib * MIB if limit_mib else None)
    assert fitted.bandwidth_mb == given
    assert limit_mib is None or rate(fitted) <= limit_mib * MIB


class Submitting:
    """A `hadoop` that keeps what it is run with."""

    def __init__(self) -> None:
        self.argv: tuple[str, ...] = ()

    def missing(self) -> None:
        return None

    def run(self, arguments: tuple[str, ...], waiting: Callable[[], None]) -> tuple[int, str]:
        self.argv = arguments
        return 0, ""


class Known:
    """A ResourceManager that knows one application, with every tag."""

    def __init__(self, state: AppState) -> None:
        self.state = state

    def find(self, tag: str) -> list[Application]:
        return [Application(id="application_1_1", state=self.state, tags=frozenset({tag}))]


def engine(path: Path, hadoop: Submitting, state: AppState, limit: int | None = None) -> DistCp:
    spec = GovernorSpec(ledger=str(path / "ledger.db"), schedule=Schedule(bytes_per_s=limit))
    return DistCp(
        rules=ClusterRules(),
        hadoop=hadoop,
        yarn=Known(state),  # type: ignore[arg-type]
        pause=lambda _seconds: None,
        reservations=spec.open(),
    )


def test_a_job_gets_half_of_what_others_leave_of_the_limit(tmp_path: Path) -> None:
    hadoop = Submitting()
    made = engine(tmp_path, hadoop, AppState.RUNNING, 160 * MIB)
    for number, given in enumerate(
        [("16", "5"), ("16", "2"), ("16", "1"), ("16", "1"), ("8", "1")]
    ):
        made.submit(replace(job(), tags=("bh-t", f"bh-t-{number}")), lambda: None)
        argv = hadoop.argv
        assert (argv[argv.index("-m") + 1], argv[argv.index("-bandwidth") + 1]) == given, number
    assert Reservations(tmp_path / "ledger.db").total() == (16 * (5 + 2 + 1 + 1) + 8) * MIB


def test_a_job_without_a_limit_is_reserved_as_much_as_distcp_takes(tmp_path: Path) -> None:
    hadoop = Submitting()
    engine(tmp_path, hadoop, AppState.RUNNING).submit(job(), lambda: None)
    assert "-bandwidth" not in hadoop.argv
    assert Reservations(tmp_path / "ledger.db").total() == 16 * 100 * MIB


@pytest.mark.parametrize(
    ("state", "counts"),
    [(AppState.QUEUED, True), (AppState.RUNNING, True), (AppState.KILLED, False)],
)
def test_a_job_s_share_is_given_back_when_it_is_seen_to_be_over(
    tmp_path: Path, state: AppState, *, counts: bool
) -> None:
    made = engine(tmp_path, Submitting(), state)
    made.submit(job(), lambda: None)
    made.find(job().tags[1])
    assert bool(Reservations(tmp_path / "ledger.db").total()) is counts


def test_sources_that_are_no_whole_prefix_come_in_a_file() -> None:
    argv = arguments(job(keys=("p/a", "p/b")), Path("/tmp/x/sources"))
    assert argv[-3:] == ("-f", "file:///tmp/x/sources", "hdfs://ns1/land/.backhaul/0123/7")


def test_many_objects_make_it_dynamic_and_list_with_threads() -> None:
    argv = arguments(job(load=Load(objects=5000, size_bytes=8 * GIB, largest_bytes=GIB)), None)
    assert argv[argv.index("-strategy") + 1] == "dynamic"
    assert argv[argv.index("-numListstatusThreads") + 1] == "40"


@pytest.mark.parametrize(
    ("load", "maps"),
    [
        (Load(objects=1, size_bytes=8 * GIB, largest_bytes=8 * GIB), 1),
        (Load(objects=5, size_bytes=0, largest_bytes=0), 1),
        (Load(objects=100, size_bytes=GIB, largest_bytes=1), 4),
        (Load(objects=1000, size_bytes=100 * GIB, largest_bytes=1), 20),
    ],
)
def test_mappers_follow_bytes_up_to_objects_and_the_limit(load: Load, maps: int) -> None:
    assert maps_for(load, ClusterRules()) == maps


@pytest.mark.parametrize(
    ("key", "escaped"),
    [
        ("a[1]/b", r"a\[1\]/b"),
        ("s*r?", r"s\*r\?"),
        ("{x,y}", r"\{x,y\}"),
        ("back\\slash", r"back\\slash"),
        ("^a", r"\^a"),
        ("with space%20'\"", "with space%20'\""),
        ("-lead", "-lead"),
    ],
)
def test_every_pattern_character_of_a_key_is_escaped(key: str, escaped: str) -> None:
    assert source_uri(Source(bucket="b", key=key)) == f"s3a://b/{escaped}"


@pytest.mark.parametrize("key", ["a:b", "a\nb", "a\rb", "a\0b"])
def test_a_key_that_cannot_be_named_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="cannot be named"):
        source_uri(Source(bucket="b", key=key))


@pytest.mark.parametrize(
    "target", ["file:///land/x", "-delete", "s3a://b/x", "/land/x", "hdfs:///x"]
)
def test_a_target_on_another_file_system_is_refused(target: str) -> None:
    made = copy_job(
        transfer_id="t",
        epoch=1,
        source=Source(bucket="b", key=""),
        keys=None,
        target=target,
        load=LOAD,
        rules=ClusterRules(),
        checksum_type="CRC32C",
    )
    with pytest.raises(ValueError, match="no directory of HDFS"):
        arguments(made, None)


def test_no_word_of_a_message_can_become_an_option() -> None:
    made = copy_job(
        transfer_id="t",
        epoch=1,
        source=Source(bucket="b", key="-delete -Dx=y/"),
        keys=None,
        target="hdfs://ns1/land/-delete/1",
        load=LOAD,
        rules=ClusterRules(),
        checksum_type="CRC32C",
    )
    assert arguments(made, None)[-2:] == ("s3a://b/-delete -Dx=y/", "hdfs://ns1/land/-delete/1")


WARNINGS = "2026-11-22 WARN util.NativeCodeLoader: Unable to load native-hadoop library\n"


@pytest.mark.parametrize(
    ("code", "output", "expected", "dependency"),
    [
        (127, "sh: hadoop: not found", "E_HADOOP_COMMAND", "yarn"),
        (1, "hadoop: no command 'distcp' here", "E_HADOOP_COMMAND", "yarn"),
        (
            1,
            "Error: Could not find or load main class o.a.h.tools.DistCp",
            "E_HADOOP_COMMAND",
            "yarn",
        ),
        (
            25,
            f"{WARNINGS}java.net.ConnectException: Call From a/1 to b:8032 failed",
            "E_YARN_UNREACHABLE",
            "yarn",
        ),
        (
            25,
            "java.nio.file.AccessDeniedException: s3a://raw/p: getFileStatus: Forbidden",
            "E_DISTCP_CREDENTIALS",
            "credentials",
        ),
        (
            25,
            f"{WARNINGS}\njava.io.IOException: something else\n\tat x.y(z)\n",
            "E_DISTCP_CLIENT",
            None,
        ),
        (
            25,
            f"{WARNINGS}java.io.IOException: nn:8020: Client cannot authenticate via:[TOKEN]",
            "E_HADOOP_KERBEROS",
            "credentials",
        ),
        (255, "Invalid arguments: Target path can't be empty", "E_DISTCP_CLIENT", None),
    ],
)
def test_a_client_s_failure_names_who_is_at_fault(
    code: int, output: str, expected: str, dependency: str | None
) -> None:
    error = client_error(code, output)
    assert error.code == expected
    assert isinstance(error, TransientError if dependency is None else OutageError)
    assert getattr(error, "dependency", None) == dependency
    assert "NativeCodeLoader" not in error.message


@pytest.mark.parametrize(
    ("state", "final", "expected"),
    [
        ("ACCEPTED", "UNDEFINED", "queued"),
        ("NEW_SAVING", "UNDEFINED", "queued"),
        ("RUNNING", "UNDEFINED", "running"),
        ("FINISHING", "SUCCEEDED", "running"),
        ("FINISHED", "SUCCEEDED", "succeeded"),
        ("FINISHED", "FAILED", "failed"),
        ("FINISHED", "KILLED", "killed"),
        ("FINISHED", "UNDEFINED", "failed"),
        ("FAILED", "FAILED", "failed"),
        ("KILLED", "KILLED", "killed"),
        ("A_NEW_ONE", "", "running"),
    ],
)
def test_two_words_of_yarn_make_one_state(state: str, final: str, expected: str) -> None:
    assert app_state(state, final).value == expected
