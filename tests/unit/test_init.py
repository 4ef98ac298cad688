"""`backhaul init`: what it writes, what it refuses, and that it never leaves half of it."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul import cli
from backhaul.app.init.answers import (
    UNKNOWN_FS,
    InitAnswers,
    read_destination,
    read_kms_key,
    read_queue,
    read_region,
    read_sender,
    read_source,
    suggested_name,
)
from backhaul.app.init.configuration import check_configuration, configuration_text
from backhaul.app.init.files import NewFile, write_all
from backhaul.app.init.infrastructure import (
    Known,
    event_filter,
    event_sources,
    infrastructure,
    queue_policy,
)
from backhaul.core.errors import BadArgument, ExitCode, TargetExists
from backhaul.core.model import Source
from backhaul.settings.load import load_settings

FLAGS = [
    *("--queue", "my-queue", "--region", "us-west-2"),
    *("--source", "s3://acme-raw/click/", "--destination", "/landing/click/"),
]
ANSWERS = InitAnswers(
    queue="my-queue",
    region="us-west-2",
    name="click",
    sources=(Source(bucket="acme-raw", key="click/"),),
    destination="/landing/click/",
)


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no file of this machine counts."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "HADOOP_CONF_DIR", "HADOOP_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BACKHAUL_CONFIG", str(tmp_path / "default.toml"))
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["init", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def made(at: Path) -> list[str]:
    return sorted(path.name for path in at.iterdir())


# ---------------------------------------------------------------- what is written


def test_flags_alone_make_a_configuration_that_is_accepted(tmp_path: Path) -> None:
    assert run("b.toml", *FLAGS) == ExitCode.OK
    path = tmp_path / "b.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (route,) = load_settings(path).route
    assert (route.name, route.source, route.destination) == (
        "click",
        ["s3://acme-raw/click/"],
        ["/landing/click/"],
    )
    assert route.queues == ["my-queue"]
    check_configuration(path.read_text(), UNKNOWN_FS)


def test_without_a_file_it_goes_where_every_command_looks(tmp_path: Path) -> None:
    assert run(*FLAGS) == ExitCode.OK
    assert made(tmp_path) == ["default.toml"]


def test_default_directory_is_made_for_the_user_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("BACKHAUL_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "conf"))
    monkeypatch.setattr("backhaul.app.init.files.find_config", lambda _given: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(*FLAGS) == ExitCode.OK
    path = tmp_path / "conf" / "backhaul" / "backhaul.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_configuration_of_the_service_names_its_ledger(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`backhaul history`, typed by hand, would look below its user's home."""
    system = tmp_path / "etc" / "backhaul.toml"
    for module in ("files", "run"):
        monkeypatch.setattr(f"backhaul.app.init.{module}.SYSTEM_CONFIG", system)
    monkeypatch.setenv("BACKHAUL_CONFIG", str(system))
    assert run(*FLAGS) == ExitCode.OK
    assert tomllib.loads(system.read_text())["ledger"] == "/var/lib/backhaul/ledger.db"
    assert stat.S_IMODE(system.stat().st_mode) == 0o644
    shown = capsys.readouterr().out
    assert "install -d -o backhaul -g backhaul -m 0700 /var/lib/backhaul/.aws" not in shown, (
        "without a template AWS has all of it"
    )
    assert "hdfs dfs -mkdir -p /landing/click && hdfs dfs -chown backhaul /landing/click" in shown
    assert "QUEUE and REGION in /etc/backhaul/agent.env" in shown
    assert "systemctl enable --now backhaul" in shown


def test_nothing_is_contacted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    arguments = [*FLAGS, "--bucket-events", "--terraform", ".", "--cloudformation", "."]
    assert run("b.toml", *arguments) == ExitCode.OK
    assert len(made(tmp_path)) == 3


def test_dash_prints_the_configuration_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-", *FLAGS) == ExitCode.OK
    shown = capsys.readouterr()
    assert tomllib.loads(shown.out)["route"][0]["name"] == "click"
    assert "backhaul doctor my-queue us-west-2" in shown.err
    assert made(tmp_path) == []


def test_next_commands_are_shown_with_the_file_that_they_need(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run("a b.toml", *FLAGS, "--terraform", "x.tf", "--cloudformation", "x.json")
    shown = capsys.readouterr().out
    assert "terraform -chdir=. init" in shown
    assert "aws cloudformation deploy --stack-name backhaul-my-queue" in shown
    assert "backhaul doctor my-queue us-west-2 --config 'a b.toml'" in shown
    assert "backhaul explain --config 'a b.toml'" in shown
    assert "backhaul run my-queue us-west-2 --drain --config 'a b.toml'" in shown
    assert "backhaul history --config 'a b.toml'" in shown
    assert "hdfs dfs" not in shown, "not the service's: whose directory it is is not known"


def test_directory_gets_files_with_names_of_their_own(tmp_path: Path) -> None:
    assert run("b.toml", *FLAGS, "--terraform", ".", "--cloudformation", ".") == ExitCode.OK
    assert made(tmp_path) == ["b.toml", "backhaul.template.json", "backhaul.tf"]
    assert stat.S_IMODE((tmp_path / "backhaul.tf").stat().st_mode) == 0o644


def test_events_get_a_template_and_are_bound_to_the_queue() -> None:
    text = configuration_text(InitAnswers(**{**vars(ANSWERS), "takes_events": True}))
    (route,) = tomllib.loads(text)["route"]
    assert route["event_destination"] == "/landing/click/{rel_dir}/"
    assert route["event_other"] == "ignore"
    check_configuration(text, UNKNOWN_FS)


def test_sender_owner_and_ledger_are_in_the_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = ["--sender", "AIDAEXAMPLEEXAMPLE1", "--source-owner", "123456789012"]
    assert run("-", *FLAGS, *more, "--ledger", "/var/lib/backhaul/ledger.db") == ExitCode.OK
    found = tomllib.loads(capsys.readouterr().out)
    assert found["ledger"] == "/var/lib/backhaul/ledger.db"
    assert found["route"][0]["senders"] == ["AIDAEXAMPLEEXAMPLE1"]
    assert found["route"][0]["source_owner"] == "123456789012"


@given(
    key=st.text(min_size=1, max_size=40),
    directory=st.text(min_size=1, max_size=40),
    events=st.booleans(),
)
def test_whatever_is_typed_is_refused_or_means_exactly_that(
    key: str, directory: str, *, events: bool
) -> None:
    """A quote, a bracket, a line's end: no text becomes another setting."""
    try:
        source = read_source(f"s3://acme-raw/{key}")
        destination = read_destination(f"/landing/{directory}", UNKNOWN_FS)
    except BadArgument:
        return
    text = configuration_text(
        InitAnswers(
            **{
                **vars(ANSWERS),
                "sources": (source,),
                "destination": destination,
                "takes_events": events,
            }
        )
    )
    found = tomllib.loads(text)
    assert set(found) == {"route"}
    (route,) = found["route"]
    assert route["source"] == [source.uri]
    assert route["destination"] == [destination]
    if events and set("{}") & set(directory):
        with pytest.raises(BadArgument, match="event_destination"):
            check_configuration(text, UNKNOWN_FS)
    else:
        check_configuration(text, UNKNOWN_FS)


# ---------------------------------------------------------------- what is refused


def test_without_a_terminal_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("b.toml", "--queue", "my-queue") == ExitCode.USAGE
    assert "--region, --source, --destination" in capsys.readouterr().err
    assert made(tmp_path) == []


@pytest.mark.parametrize("place", ["b.toml", "backhaul.tf", "backhaul.template.json"])
def test_existing_file_is_never_replaced(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / place).write_text("mine")
    arguments = ["b.toml", *FLAGS, "--terraform", ".", "--cloudformation", "."]
    assert run(*arguments) == ExitCode.CANNOT_WRITE
    assert made(tmp_path) == [place]
    assert (tmp_path / place).read_text() == "mine"
    shown = capsys.readouterr().err
    assert f"E_INIT_EXISTS: {place}" in shown or f"{tmp_path / place} exists" in shown


def test_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "b.toml").symlink_to(tmp_path / "elsewhere")
    assert run("b.toml", *FLAGS) == ExitCode.CANNOT_WRITE
    assert made(tmp_path) == ["b.toml"]


def test_configuration_that_commands_find_already_is_not_shadowed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user's file beside the system's would never be read."""
    monkeypatch.delenv("BACKHAUL_CONFIG")
    system = tmp_path / "etc.toml"
    system.write_text("")
    monkeypatch.setattr("backhaul.app.init.files.find_config", lambda _given: system)
    assert run(*FLAGS) == ExitCode.CANNOT_WRITE
    assert f"{system} exists" in capsys.readouterr().err


def test_when_one_file_cannot_be_made_there_is_none(tmp_path: Path) -> None:
    assert run("b.toml", *FLAGS, "--terraform", "absent/x.tf") == ExitCode.UNAVAILABLE
    assert made(tmp_path) == []


def test_file_that_appears_meanwhile_is_kept_and_what_was_made_goes(tmp_path: Path) -> None:
    first = NewFile(path=tmp_path / "new" / "a", text="a", directory_mode=0o700)
    second = NewFile(path=tmp_path / "new" / "a", text="b")
    with pytest.raises(TargetExists):
        write_all([first, second])
    assert made(tmp_path) == []


def test_one_file_for_two_purposes_is_refused(tmp_path: Path) -> None:
    assert run("x", *FLAGS, "--terraform", "./x") == ExitCode.USAGE
    assert made(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--queue", "my queue"], "--queue: my queue is no name"),
        (["--queue", "arn:aws:sqs:eu-west-1:123456789012:q"], "is in eu-west-1"),
        (["--region", "Oregon"], "--region: Oregon is no AWS region"),
        (["--source", "http://x/"], "--source: "),
        (["--source", "s3://arn:aws:s3:::x/"], "--source: "),
        (["--destination", "landing"], "--destination: "),
        (["--destination", "/"], "--destination: "),
        (["--name", "a b"], "--name: a b is no name"),
        (["--sender", "*"], "--sender: * is neither"),
        (["--kms-key", "alias/x"], "--kms-key: alias/x is no ARN"),
        (["--source-owner", "1"], "--source-owner: 1 is no AWS account"),
        (["--role-for", "x"], "--role-for: x is neither"),
        (["--queue", "q.fifo", "--bucket-events"], "S3 sends no events to a FIFO queue"),
        (["--sender", "AIDAEXAMPLEEXAMPLE1", "--bucket-events"], "would refuse S3's events"),
        (["--queue", "q" * 80], "has more than 80 characters"),
        (["--destination", "/a{b}/", "--bucket-events"], "event_destination"),
    ],
)
def test_wrong_answer_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    flags = dict(zip(FLAGS[::2], FLAGS[1::2], strict=True))
    flags.update({arguments[0]: arguments[1]})
    everything = [word for pair in flags.items() for word in pair] + arguments[2:]
    assert run("b.toml", *everything, "--terraform", ".") == ExitCode.USAGE
    shown = capsys.readouterr().err
    assert "E_INIT_ANSWER" in shown
    assert said in shown
    assert made(tmp_path) == []


# ---------------------------------------------------------------- answers


def test_source_without_its_slash_gets_it() -> None:
    assert read_source("s3://raw/p") == read_source("raw/p/") == Source(bucket="raw", key="p/")
    assert read_source("bucket/") == Source(bucket="bucket", key="")


def test_bucket_alone_is_not_taken_for_all_of_it() -> None:
    with pytest.raises(BadArgument) as refusal:
        read_source("acme-raw")
    assert "s3://acme-raw/ for the whole bucket" in refusal.value.hint


def test_queue_may_be_a_url_or_an_arn() -> None:
    assert read_queue("https://sqs.us-west-2.amazonaws.com/123456789012/q", "us-west-2") == "q"
    assert read_queue("arn:aws:sqs:us-west-2:123456789012:q.fifo") == "q.fifo"


def test_region_of_any_partition_is_one() -> None:
    for region in ("us-west-2", "cn-north-1", "us-gov-east-1", "ap-southeast-4"):
        assert read_region(region) == region


def test_sender_is_a_principal_or_an_id() -> None:
    assert read_sender("123456789012") == ("arn:aws:iam::123456789012:root", None)
    role = "arn:aws:iam::123456789012:role/emr/x"
    assert read_sender(role) == (role, None)
    assert read_sender("AROAEXAMPLEEXAMPLE12:session-1") == (
        None,
        "AROAEXAMPLEEXAMPLE12:session-1",
    )


def test_name_of_a_route_comes_from_its_source() -> None:
    assert suggested_name(Source(bucket="b", key="a/day=01/")) == "day-01"
    assert suggested_name(Source(bucket="acme-raw", key="день/")) == "acme-raw"


def test_key_is_an_arn() -> None:
    key = "arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    assert read_kms_key(f" {key} ") == key


# ---------------------------------------------------------------- infrastructure


def test_bucket_may_send_and_no_other_bucket_and_no_other_account() -> None:
    policy = queue_policy(event_sources((("acme-raw", "click/"),), None), (), "aws")
    assert policy is not None
    (statement,) = policy["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Condition"] == {
        "ArnLike": {"aws:SourceArn": "arn:aws:s3:::acme-raw"},
        "StringEquals": {"aws:SourceAccount": Known.ACCOUNT},
    }
    owned = queue_policy(event_sources((("b", ""),), "210987654321"), (), "aws")
    assert owned is not None
    assert "210987654321" in json.dumps(owned, default=str)


def test_queue_without_events_or_senders_has_no_policy() -> None:
    assert infrastructure(ANSWERS).queue_policy is None


def test_principals_may_send() -> None:
    policy = queue_policy((), ("arn:aws:iam::123456789012:root",), "aws")
    assert policy is not None
    assert policy["Statement"][0]["Principal"] == {"AWS": ["arn:aws:iam::123456789012:root"]}
    assert "sqs:SendMessage" in policy["Statement"][0]["Action"]


def test_filter_is_percent_encoded_as_s3_wants_it() -> None:
    """With `=` itself S3 takes the filter, and no event ever comes."""
    assert event_filter("clicks/day=1/") == "clicks/day%3D1/"
    assert event_filter("a b/ü+$/") == "a+b/%C3%BC%2B%24/"
    assert event_filter("plain-A_1.(x)!*'/") == "plain-A_1.(x)!*'/"


def test_prefixes_of_a_notification_do_not_overlap() -> None:
    (one, other) = event_sources((("b", "a/x/"), ("c", ""), ("b", "a/"), ("b", "d/")), None)
    assert (one.bucket, one.prefixes) == ("b", ("a/", "d/"))
    assert (other.bucket, other.prefixes) == ("c", ("",))


def test_names_in_iam_fit_and_stay_distinct() -> None:
    one = infrastructure(InitAnswers(**{**vars(ANSWERS), "queue": "q" * 74}))
    other = infrastructure(InitAnswers(**{**vars(ANSWERS), "queue": "q" * 75}))
    assert len(one.agent_name) <= 64
    assert one.agent_name != other.agent_name
    assert one.agent_name != one.send_name


def test_a_destination_of_viewfs_is_kept_as_typed_where_no_mount_table_is_known() -> None:
    assert read_destination("viewfs://bed/data/in", UNKNOWN_FS) == "viewfs://bed/data/in/"
