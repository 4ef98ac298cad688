from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.core.errors import ConfigurationError, ExitCode, NotAllowed, PermanentError
from backhaul.core.model import (
    Assignment,
    EngineName,
    Limits,
    NameMap,
    OnExists,
    Options,
    PublishMode,
    Request,
    Route,
    Source,
    VerifyLevel,
)
from backhaul.core.requests.body import parse_options, request_from_arguments
from backhaul.core.requests.paths import parse_destination
from backhaul.core.requests.policy import Policy, allow_any_route, parse_allow, warnings

DEFAULT_FS = "hdfs://nameservice"


def request(source: str, destination: str, **options: object) -> Request:
    return request_from_arguments(
        source, destination, parse_options(options), default_fs=DEFAULT_FS
    )


def route(name: str, source: str, *destinations: str, **settings: object) -> Route:
    bucket, _, prefix = source.partition("/")
    made = Route(
        name=name,
        sources=((bucket, prefix),),
        destinations=tuple(parse_destination(text, default_fs=DEFAULT_FS) for text in destinations),
    )
    return dataclasses.replace(made, **settings)  # type: ignore[arg-type]


RAW = route("raw", "bucket/raw/", "/landing")
CLICK = route("click", "bucket/click/", "/landing/click", "/archive")
POLICY = Policy(routes=(RAW, CLICK))


def refusal(policy: Policy, asked: Request, sender_id: str | None = None) -> NotAllowed:
    with pytest.raises(NotAllowed) as caught:
        policy.decide(asked, sender_id=sender_id)
    assert caught.value.hint
    assert caught.value.message.isprintable()
    assert caught.value.exit_code is ExitCode.NOT_ALLOWED
    return caught.value


# ---------------------------------------------------------------- which route


def test_job_is_what_the_route_makes_of_the_request() -> None:
    limits = Limits(objects=7)
    only = route(
        "only",
        "bucket/raw/",
        "/landing",
        on_exists=OnExists.SAME_OK,
        verify=VerifyLevel.STORED,
        engine=EngineName.NATIVE,
        publish=PublishMode.PER_FILE,
        name_map=NameMap.PERCENT,
        limits=limits,
    )
    asked = request("bucket/raw/a", "/landing/x")
    policy = Policy(routes=(only,))
    assert policy.decide(asked, sender_id="AROA") == Assignment(
        request=asked,
        route="only",
        anchor=parse_destination("/landing", default_fs=DEFAULT_FS),
        on_exists=OnExists.SAME_OK,
        publish=PublishMode.PER_FILE,
        engine=EngineName.NATIVE,
        verify=VerifyLevel.STORED,
        name_map=NameMap.PERCENT,
        limits=limits,
        policy_digest=policy.digest,
    )


def test_nothing_is_allowed_without_a_route() -> None:
    error = refusal(Policy(routes=()), request("bucket/raw/a", "/landing"))
    assert error.code == "E_POLICY_SOURCE"
    assert 'source = ["s3://bucket/raw/"]' in error.hint
    assert 'destination = ["hdfs://nameservice/landing/"]' in error.hint


@pytest.mark.parametrize(
    ("source", "destination", "found"),
    [
        ("bucket/raw/a", "/landing/x", "raw"),
        ("bucket/raw", "/landing", "raw"),
        ("bucket/click/a", "/landing/click/x", "click"),
        ("bucket/click/a", "/archive", "click"),
        ("bucket/other/a", "/landing", "E_POLICY_SOURCE"),
        ("bucket/raw-evil/a", "/landing", "E_POLICY_SOURCE"),
        ("bucket/ra", "/landing", "E_POLICY_SOURCE"),
        ("bucket/", "/landing", "E_POLICY_SOURCE"),
        ("tekcub/raw/a", "/landing", "E_POLICY_SOURCE"),
        ("bucket/click/a", "/landing", "E_POLICY_DEST"),
        ("bucket/click/a", "/archive-evil", "E_POLICY_DEST"),
        ("bucket/raw/a", "file:///landing", "E_POLICY_DEST"),
        ("bucket/raw/a", "hdfs://other/landing", "E_POLICY_DEST"),
    ],
)
def test_source_and_destination_decide(source: str, destination: str, found: str) -> None:
    asked = request(source, destination)
    if found.startswith("E_"):
        assert refusal(POLICY, asked).code == found
    else:
        assert POLICY.decide(asked, sender_id=None).route == found


def test_first_covering_route_wins_even_if_a_later_one_would_take_the_sender() -> None:
    narrow = dataclasses.replace(RAW, name="narrow", senders=frozenset({"A"}))
    policy = Policy(routes=(narrow, RAW))
    asked = request("bucket/raw/a", "/landing")
    assert policy.decide(asked, sender_id="A").route == "narrow"
    assert refusal(policy, asked, "B").code == "E_SENDER"


@pytest.mark.parametrize(
    ("source", "destination", "options", "found"),
    [
        ("bucket/raw/a", "/landing", {}, "raw"),
        ("bucket/click/a", "/archive", {"verify": "size"}, "click"),
        ("bucket/click/a", "/etc", {}, None),
        ("elsewhere/a", "/landing", {}, None),
    ],
)
def test_a_request_belongs_to_the_route_that_covers_it_even_if_that_refuses_it(
    source: str, destination: str, options: dict[str, object], found: str | None
) -> None:
    assert POLICY.route_for(request(source, destination, **options)) == found


def test_request_of_this_machine_has_no_sender_to_list() -> None:
    listed = dataclasses.replace(RAW, senders=frozenset({"A"}))
    asked = request("bucket/raw/a", "/landing")
    assert Policy(routes=(listed,)).decide(asked, sender_id=None).route == listed.name


@pytest.mark.parametrize("sender_id", ["", "a", "A:session"])
def test_unlisted_sender_is_refused(sender_id: str) -> None:
    listed = dataclasses.replace(RAW, senders=frozenset({"A"}))
    error = refusal(Policy(routes=(listed,)), request("bucket/raw/a", "/landing"), sender_id)
    assert error.code == "E_SENDER"


def test_anchor_is_the_deepest_directory_that_covers_the_destination() -> None:
    nested = route("nested", "bucket/raw/", "/a", "/a/b", "/a/b/c/d")
    policy = Policy(routes=(nested,))
    for destination, anchor in [("/a/x", "/a"), ("/a/b", "/a/b"), ("/a/b/c", "/a/b")]:
        job = policy.decide(request("bucket/raw/a", destination), sender_id=None)
        assert job.anchor.path == anchor


# ---------------------------------------------------------------- options

ALLOWED = [
    ("on_exists", "replace", "replace same-ok fail"),
    ("on_exists", "same-ok", "same-ok fail"),
    ("on_exists", "fail", "fail"),
    ("verify", "size", "size stream stored reread"),
    ("verify", "stream", "stream stored reread"),
    ("verify", "stored", "stored reread"),
    ("verify", "reread", "reread"),
    ("publish", "auto", "auto per-file atomic-dir"),
    ("publish", "per-file", "per-file"),
    ("publish", "atomic-dir", "atomic-dir"),
    ("engine", "auto", "auto native distcp"),
    ("engine", "distcp", "distcp"),
    ("engine", "native", "native"),
]
CHOICES = {
    "on_exists": OnExists,
    "verify": VerifyLevel,
    "publish": PublishMode,
    "engine": EngineName,
}


@pytest.mark.parametrize(("option", "given_value", "allowed"), ALLOWED)
def test_message_may_tighten_and_never_loosen(option: str, given_value: str, allowed: str) -> None:
    choices = CHOICES[option]
    policy = Policy(routes=(dataclasses.replace(RAW, **{option: choices(given_value)}),))  # type: ignore[arg-type]
    assert getattr(policy.decide(request("bucket/raw/a", "/landing"), sender_id=None), option) == (
        given_value
    )
    for value in choices:
        asked = request("bucket/raw/a", "/landing", **{option: str(value)})
        if value in allowed.split():
            assert getattr(policy.decide(asked, sender_id=None), option) == value
        else:
            error = refusal(policy, asked)
            assert error.code == "E_POLICY_OPTION"
            assert f"{option} = {value}" in error.message


# ---------------------------------------------------------------- asked again


def test_resolved_source_is_judged_strictly() -> None:
    job = POLICY.decide(request("bucket/raw", "/landing"), sender_id=None)
    POLICY.check_resolved(job, Source(bucket="bucket", key="raw/"))
    assert POLICY.covers_source("raw", Source(bucket="bucket", key="raw/x"))
    assert not POLICY.covers_source("raw", Source(bucket="bucket", key="raw"))
    with pytest.raises(NotAllowed, match="E_POLICY_SOURCE"):
        POLICY.check_resolved(job, Source(bucket="bucket", key="raw"))


def test_target_is_judged_again_by_the_policy_then_in_force() -> None:
    job = POLICY.decide(request("bucket/raw/a", "/landing/x"), sender_id=None)
    target = job.request.destination.join("a")
    POLICY.check_target(job, target)
    moved = Policy(routes=(route("raw", "bucket/raw/", "/elsewhere"),))
    with pytest.raises(NotAllowed, match="E_POLICY_DEST"):
        moved.check_target(job, target)
    with pytest.raises(NotAllowed, match="E_POLICY_DEST"):
        POLICY.check_target(job, parse_destination("/landing-evil/a", default_fs=DEFAULT_FS))


def test_removed_route_revokes() -> None:
    job = POLICY.decide(request("bucket/click/a", "/archive"), sender_id=None)
    rest = Policy(routes=(RAW,))
    assert POLICY.find("click") is CLICK
    with pytest.raises(NotAllowed, match="E_POLICY_REVOKED"):
        rest.check_resolved(job, job.request.source)
    with pytest.raises(NotAllowed, match="E_POLICY_REVOKED"):
        rest.check_target(job, job.request.destination)


# ---------------------------------------------------------------- routes from the command line


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/raw/ -> /landing/",
        "bucket/raw/ -> /landing",
        "s3a://bucket/raw->/landing",
        "  bucket/raw\t->  hdfs://nameservice/landing ",
    ],
)
def test_allow_names_a_directory_on_both_sides(text: str) -> None:
    made = parse_allow(text, default_fs=DEFAULT_FS)
    assert made.sources == (("bucket", "raw/"),)
    assert made.destinations == RAW.destinations
    assert made.name == parse_allow("bucket/raw -> /landing", default_fs=DEFAULT_FS).name
    assert made.name != parse_allow("bucket/raw -> /landing2", default_fs=DEFAULT_FS).name
    assert made.senders is None


@pytest.mark.parametrize("text", ["s3://bucket -> /landing", "s3://bucket/ -> /landing"])
def test_allow_takes_a_whole_bucket(text: str) -> None:
    policy = Policy(routes=(parse_allow(text, default_fs=DEFAULT_FS),))
    assert policy.routes[0].sources == (("bucket", ""),)
    for source in ("bucket/", "bucket/a", "bucket/a/"):
        job = policy.decide(request(source, "/landing"), sender_id=None)
        assert job.route == policy.routes[0].name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bucket/raw",
        "bucket/raw /landing",
        "bucket/raw -> /a -> /b",
        " -> /landing",
        "bucket/raw -> ",
        "* -> /",
        "bucket/raw -> /",
        "bucket/raw// -> /landing",
        "bucket/raw -> landing",
        "s3://key:secret@bucket/raw -> /landing",
        "bucket/\x1b -> /landing",
        "bucket/raw -> /\udcff",
    ],
)
def test_faulty_allow_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="E_CFG_ALLOW") as caught:
        parse_allow(text, default_fs=DEFAULT_FS)
    assert caught.value.hint
    assert caught.value.message.isprintable()
    assert "secret" not in str(caught.value)


def test_allow_any_opens_the_door_as_the_original_had_it() -> None:
    policy = Policy(routes=(allow_any_route(),))
    asked = request("bucket/a", "file:///x/y")
    job = policy.decide(asked, sender_id="anyone")
    assert (job.route, job.anchor, job.on_exists) == (
        "allow-any",
        asked.destination,
        OnExists.REPLACE,
    )
    policy.check_resolved(job, Source(bucket="bucket", key="a/"))
    policy.check_target(job, asked.destination.join("z"))


# ---------------------------------------------------------------- for any input

KEYS = st.lists(st.sampled_from(["raw", "click", "/", "-e", "a"])).map("".join)
LANDINGS = st.lists(st.sampled_from(["landing", "/", "click", "-e", "archive"])).map("".join)


@given(KEYS, LANDINGS, st.sampled_from(OnExists))
def test_accepted_job_lies_inside_its_route(key: str, path: str, on_exists: OnExists) -> None:
    try:
        asked = request_from_arguments(
            f"bucket/{key}", f"/{path}", Options(on_exists=on_exists), default_fs=DEFAULT_FS
        )
        job = POLICY.decide(asked, sender_id=None)
    except PermanentError:  # whatever else comes up fails the test
        return
    assert f"{job.request.destination.path}/".startswith(f"{job.anchor.path}/")
    assert f"{key}/".startswith(("raw/", "click/"))


# ---------------------------------------------------------------- what routes leave unproven


def test_route_that_asks_for_sizes_alone_is_warned_of_and_no_other() -> None:
    loose = dataclasses.replace(CLICK, verify=VerifyLevel.SIZE)
    assert warnings(POLICY) == []
    (found,) = warnings(Policy(routes=(RAW, loose)))
    assert (found.route, found.code) == ("click", "W_SIZE_ONLY")
