from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backhaul.core.errors import BackhaulError, BadMessage, PermanentError
from backhaul.core.model import EngineName, OnExists, Options, PublishMode, VerifyLevel
from backhaul.core.requests.body import (
    MAX_BODY_BYTES,
    format_json,
    format_line,
    parse_message,
    parse_options,
    request_from_arguments,
)
from tests.catalogue import Row, name, rows

DEFAULT_FS = "hdfs://nameservice"
OPTIONS = st.builds(
    Options,
    on_exists=st.none() | st.sampled_from(OnExists),
    publish=st.none() | st.sampled_from(PublishMode),
    engine=st.none() | st.sampled_from(EngineName),
    verify=st.none() | st.sampled_from(VerifyLevel),
)
SEGMENTS = st.text(st.characters(exclude_characters="/:", exclude_categories=("Cs", "Cc"))).filter(
    lambda text: text not in {"", ".", "..", ".snapshot", ".backhaul", ".Trash", ".reserved"}
)


def outcome(body: str) -> BackhaulError | None:
    try:
        parse_message(body, default_fs=DEFAULT_FS)
    except BackhaulError as error:
        return error
    return None


def assert_refused_alike(body: str, error: BackhaulError) -> None:
    refused = outcome(body)
    assert refused is not None
    assert refused.code == error.code


def assert_fit_for_an_operator(error: BackhaulError) -> None:
    assert isinstance(error, PermanentError)
    assert error.code.startswith("E_")
    assert error.hint
    for line in (error.message, error.hint):
        assert line.isprintable()
        assert len(line) < 500


@pytest.mark.parametrize("row", [row for row in rows("messages") if not row.where], ids=name)
def test_catalogue_row(row: Row) -> None:
    if row.code is None:
        request = parse_message(row.input, default_fs=DEFAULT_FS)
        assert f"{request.source.uri} -> {request.destination.uri}" == row.gives
        return
    with pytest.raises(PermanentError) as caught:
        parse_message(row.input, default_fs=DEFAULT_FS)
    assert caught.value.code == row.code
    assert_fit_for_an_operator(caught.value)
    assert "cret" not in str(caught.value)


def test_lone_surrogate_in_the_raw_body_is_refused_with_its_place() -> None:
    with pytest.raises(BadMessage, match=r"E_MSG_UNICODE: .* at byte 9") as caught:
        parse_message("bucket/é\udcff, /x", default_fs=DEFAULT_FS)
    assert_fit_for_an_operator(caught.value)


def test_format_of_a_request_is_kept() -> None:
    line = parse_message("bucket/a, /x", default_fs=DEFAULT_FS)
    document = parse_message(
        '{"v":1,"source":"bucket/a","destination":"/x","options":{"verify":"stored"}}',
        default_fs=DEFAULT_FS,
    )
    assert (line.form, line.options) == ("line", Options())
    assert (document.form, document.options) == ("json", Options(verify=VerifyLevel.STORED))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("bucket/a,b, /dir", "2 commas"),
        ("YnVja2V0L2EsIC94", "base64"),
        ("hello", "hello"),
        ("user@host", "not shown"),
        ("password=secret", "not shown"),
        ('{"Records":[]}', "no records"),
        ('{"v":1,"sauce":1}', "v, source, destination, options"),
        ('{"v":"x","source":1}', '"x"'),
        ('{"a":1', "at byte 6"),
        ('{"é":"\x01"}', "at byte 7"),
    ],
)
def test_sentence_names_the_thing(body: str, sentence: str) -> None:
    error = outcome(body)
    assert error is not None
    assert sentence in error.message
    assert "secret" not in error.message


def test_control_character_is_escaped_in_the_sentence() -> None:
    error = outcome('{"v":1,"source":"bucket/a","destination":"/x\\r\\n"}')
    assert error is not None
    assert error.message == r"destination has the control character \r at byte 2"


def test_destination_on_the_default_needs_one() -> None:
    with pytest.raises(PermanentError, match="E_DST_NO_DEFAULT_FS"):
        parse_message("bucket/a, /x", default_fs=None)
    request = parse_message("bucket/a, hdfs://nn:8020/x", default_fs=None)
    assert request.destination.uri == "hdfs://nn:8020/x"


# ---------------------------------------------------------------- hostile and quick


@pytest.mark.parametrize(
    "unit",
    [
        "[",
        '{"a":',
        '[{"a":',
        "[]",
        '"',
        '"\\',
        "{",
        "}",
        "-",
        "1",
        "a,",
        "\\",
        '{"a":"',
        "9e",
        "==",
    ],
)
@pytest.mark.parametrize("start", ["", "{", '{"v":1,"source":"', "["])
def test_largest_hostile_body_is_refused_quickly(start: str, unit: str) -> None:
    body = (start + unit * MAX_BODY_BYTES)[:MAX_BODY_BYTES]
    started = time.perf_counter()
    error = outcome(body)
    assert time.perf_counter() - started < 1.0  # measured: below 0.03
    assert isinstance(error, BadMessage)
    assert_fit_for_an_operator(error)


def test_deep_nesting_is_refused_far_down_the_stack() -> None:
    def descend(levels: int) -> BackhaulError | None:
        return descend(levels - 1) if levels else outcome("[" * 60_000)

    found: list[BackhaulError | None] = []
    thread = threading.Thread(target=lambda: found.append(descend(800)))
    thread.start()
    thread.join()
    assert isinstance(found[0], BadMessage)
    assert found[0].code == "E_MSG_SHAPE"


def test_nesting_up_to_the_limit_is_judged_by_its_fields() -> None:
    at_limit = '{"x":' + "[" * 31 + "]" * 31 + "}"
    beyond = '{"x":' + "[" * 32 + "]" * 32 + "}"
    assert [getattr(outcome(body), "code", "") for body in (at_limit, beyond)] == [
        "E_MSG_FOREIGN",
        "E_MSG_SHAPE",
    ]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "v": st.just(1) | JSON_VALUES,
        "source": st.sampled_from(["bucket/a", "s3://bucket/"]) | JSON_VALUES,
        "destination": st.sampled_from(["/x", "file:///x"]) | JSON_VALUES,
        "options": st.dictionaries(
            st.sampled_from(["on_exists", "publish", "engine", "verify", "x"]),
            st.sampled_from(["replace", "auto", "stored"]) | JSON_VALUES,
        )
        | JSON_VALUES,
        "x": JSON_VALUES,
    },
)


@given(
    st.text(st.characters())
    | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))
    | st.builds(
        "{}{}{}".format, st.text(), st.sampled_from([",", ", ", '"', "{", "://"]), st.text()
    )
    | (REQUESTS | JSON_VALUES).map(json.dumps)
)
@example("\ud800")
def test_any_text_is_a_request_or_a_refusal(body: str) -> None:
    error = outcome(body)
    if error is not None:
        assert_fit_for_an_operator(error)


# ---------------------------------------------------------------- options


def test_options_by_name() -> None:
    pairs = {"on_exists": "fail", "publish": "per-file", "engine": "native", "verify": "size"}
    assert parse_options(pairs) == Options(
        on_exists=OnExists.FAIL,
        publish=PublishMode.PER_FILE,
        engine=EngineName.NATIVE,
        verify=VerifyLevel.SIZE,
    )
    assert parse_options({}) == Options()


@pytest.mark.parametrize(
    ("pairs", "code", "accepted"),
    [
        ({"overwrite": "true"}, "E_MSG_FIELD", "on_exists, publish, engine, verify"),
        ({"verify": "md5"}, "E_MSG_RANGE", "reread, stored, stream, size"),
        ({"verify": ""}, "E_MSG_RANGE", "reread, stored, stream, size"),
        ({"publish": 1}, "E_MSG_TYPE", "auto, per-file, atomic-dir"),
        ({"engine": ["auto"]}, "E_MSG_TYPE", "auto, native, distcp"),
        ({"on_exists": True}, "E_MSG_TYPE", "replace, same-ok, fail"),
    ],
)
def test_refused_option_lists_what_is_accepted(
    pairs: dict[str, object], code: str, accepted: str
) -> None:
    with pytest.raises(BadMessage, match=code) as caught:
        parse_options(pairs)
    assert f"accepted: {accepted}" in caught.value.message
    assert_fit_for_an_operator(caught.value)


# ---------------------------------------------------------------- what send writes


@given(key=SEGMENTS, directory=SEGMENTS, options=OPTIONS)
def test_written_json_reads_back(key: str, directory: str, options: Options) -> None:
    source, destination = f"s3://bucket/{key}", f"/{directory}"
    body = format_json(source, destination, options)
    assert body.isascii()
    try:
        request = request_from_arguments(source, destination, options, default_fs=DEFAULT_FS)
    except PermanentError as error:
        assert_refused_alike(body, error)
        return
    again = parse_message(body, default_fs=DEFAULT_FS)
    assert (again.source, again.destination, again.options) == (
        request.source,
        request.destination,
        options,
    )


@given(key=SEGMENTS, directory=SEGMENTS)
def test_written_line_reads_back_or_is_not_written(key: str, directory: str) -> None:
    source, destination = f"bucket/{key}", f"/{directory}"
    try:
        expected = request_from_arguments(source, destination, Options(), default_fs=DEFAULT_FS)
        body = format_line(source, destination)
    except PermanentError:
        return
    again = parse_message(body, default_fs=DEFAULT_FS)
    assert (again.source, again.destination) == (expected.source, expected.destination)


@pytest.mark.parametrize(
    ("source", "destination"),
    [("bucket/a,b", "/x"), ("bucket/a", "/x,y"), ("bucket/a ", "/x"), ("bucket/a", "/x\n")],
)
def test_line_that_would_not_come_back_is_not_written(source: str, destination: str) -> None:
    with pytest.raises(BadMessage, match="E_MSG_FORMAT"):
        format_line(source, destination)


def test_json_without_options_has_no_such_field() -> None:
    assert format_json("bucket/a", "/x", Options()) == (
        '{"v":1,"source":"bucket/a","destination":"/x"}'
    )


def test_arguments_are_as_strict_as_json() -> None:
    request = request_from_arguments(
        "bucket/a", "/x", Options(verify=VerifyLevel.SIZE), default_fs=DEFAULT_FS
    )
    assert (request.form, request.options.verify) == ("cli", VerifyLevel.SIZE)
    for source, destination, code in [
        (" bucket/a", "/x", "E_MSG_FIELD"),
        ("bucket/a", "/x ", "E_MSG_FIELD"),
        ("bucket/a\n", "/x", "E_MSG_CONTROL"),
        ("bucket/\udcff", "/x", "E_MSG_UNICODE"),
    ]:
        with pytest.raises(PermanentError, match=code):
            request_from_arguments(source, destination, Options(), default_fs=DEFAULT_FS)


# ---------------------------------------------------------------- what is no request by itself


def step_event() -> dict[str, Any]:
    return {
        "version": "0",
        "detail-type": "EMR Step Status Change",
        "source": "aws.emr",
        "account": "123456789012",
        "time": "2026-11-22T12:00:00Z",
        "detail": {"name": "Export", "clusterId": "j-1", "stepId": "s-1", "state": "COMPLETED"},
    }


def test_event_is_no_request_that_a_sender_could_have_written() -> None:
    refused = outcome(json.dumps(step_event()))
    assert refused is not None
    assert refused.code == "E_MSG_SHAPE"
    assert "event" in refused.message


@pytest.mark.parametrize("field", ["detail-type", "name", "clusterId", "stepId", "state"])
def test_event_whose_words_have_control_characters_is_refused(field: str) -> None:
    event = step_event()
    (event if field == "detail-type" else event["detail"])[field] += "\x1b"
    refused = outcome(json.dumps(event))
    assert refused is not None
    assert refused.code == "E_MSG_CONTROL"
