from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backhaul.adapters.hadoop.configuration.property_names import is_secret
from backhaul.core.errors import BackhaulError, ConfigurationError, PermanentError
from backhaul.core.file_systems import FileSystems
from backhaul.core.model import Location, NameMap, Options, Source
from backhaul.core.requests.body import format_json, parse_message, request_from_arguments
from backhaul.core.requests.overlap import refuse_overlaps
from backhaul.core.requests.paths import (
    check_key,
    is_placeholder,
    map_name,
    parse_destination,
    parse_source,
    target_relative,
    unmap_name,
)
from backhaul.core.requests.policy import Policy, parse_allow
from backhaul.core.text import printable, redacted
from tests.catalogue import Row, name, rows

DEFAULT_FS = "hdfs://nameservice"
LANDING = Location(scheme="hdfs", authority="nameservice", path="/landing")


def assert_fit_for_an_operator(error: BackhaulError) -> None:
    for line in (error.message, error.hint):
        assert line
        assert line.isprintable()
        assert len(line) < 500


def judge(section: str, row: Row) -> str | None:
    """What the row's function makes of its input, as text."""
    match row.where:
        case "key":
            check_key(row.input)
            return None
        case "target":
            return target_relative(LANDING, row.input, NameMap(row.other or "strict"))
        case "marker":
            return str(is_placeholder(row.input, int(row.other)))
        case "policy":
            policy = Policy(routes=(parse_allow(row.allow, default_fs=DEFAULT_FS),))
            pair = (row.input, row.other) if section == "sources" else ("bucket/raw/", row.input)
            request = request_from_arguments(*pair, Options(), default_fs=DEFAULT_FS)
            policy.decide(request, sender_id=None)
            return None
        case _ if section == "sources":
            return parse_source(row.input).uri
        case _:
            return parse_destination(row.input, default_fs=DEFAULT_FS).uri


@pytest.mark.parametrize(
    ("section", "row"),
    [(section, row) for section in ("sources", "destinations") for row in rows(section)],
    ids=lambda value: name(value) if isinstance(value, Row) else value,
)
def test_catalogue_row(section: str, row: Row) -> None:
    if row.code is None:
        assert judge(section, row) == row.gives or row.gives is None
        return
    with pytest.raises(PermanentError) as caught:
        judge(section, row)
    assert caught.value.code == row.code
    assert_fit_for_an_operator(caught.value)
    for secret in ("secret", "ret@", "c0ffee"):
        assert secret not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("section", "row"),
    [
        (section, row)
        for section in ("sources", "destinations")
        for row in rows(section)
        if row.where == ""
    ],
    ids=lambda value: name(value) if isinstance(value, Row) else value,
)
def test_catalogue_row_inside_a_message(section: str, row: Row) -> None:
    pair = (row.input, "/x") if section == "sources" else ("bucket/a", row.input)
    body = format_json(*pair, Options())
    if row.code is None:
        request = parse_message(body, default_fs=DEFAULT_FS)
        place: Source | Location = request.source if section == "sources" else request.destination
        assert row.gives in {None, place.uri}
        return
    with pytest.raises(PermanentError) as caught:
        parse_message(body, default_fs=DEFAULT_FS)
    expected = "E_MSG_CONTROL" if row.code == "E_KEY_CONTROL" else row.code
    assert caught.value.code == expected


# ---------------------------------------------------------------- sources and keys


def test_bucket_without_key_says_how_to_ask_for_all_of_it() -> None:
    with pytest.raises(PermanentError, match="names a bucket but no key") as caught:
        parse_source("s3://bucket")
    assert caught.value.hint == "write s3://bucket/ for the whole bucket"


@pytest.mark.parametrize(
    ("key", "code", "place"),
    [
        ("é/../b", "E_SRC_KEY_DOT_SEG", "the segment '..' at byte 3"),
        ("é//b", "E_SRC_KEY_EMPTY_SEG", "an empty segment at byte 3"),
        ("é\x1b", "E_KEY_CONTROL", "U+001B at byte 2"),
        ("é\ud800", "E_MSG_UNICODE", "at byte 2"),
    ],
)
def test_refused_key_names_the_byte(key: str, code: str, place: str) -> None:
    with pytest.raises(PermanentError, match=code) as caught:
        check_key(key)
    assert place in caught.value.message


def test_whole_bucket_and_prefix_are_fine_keys() -> None:
    check_key("")
    check_key("a/")


@given(st.text(st.characters()) | st.text(st.sampled_from("ab/.:@-%s3\x00é\ud800")))
def test_any_text_is_a_source_or_a_refusal(text: str) -> None:
    try:
        source = parse_source(text)
    except PermanentError as error:
        assert_fit_for_an_operator(error)
    else:
        assert text.endswith(source.key)
        assert parse_source(source.uri) == source


# ---------------------------------------------------------------- destinations


@pytest.mark.parametrize(
    ("default_fs", "uri"),
    [
        ("hdfs://nn:8020", "hdfs://nn:8020/x"),
        ("hdfs://nameservice/", "hdfs://nameservice/x"),
        ("file:///", "file:///x"),
        ("file://", "file:///x"),
    ],
)
def test_path_lands_on_the_default_file_system(default_fs: str, uri: str) -> None:
    location = parse_destination("/x", default_fs=default_fs)
    assert location.uri == uri
    assert parse_destination(uri, default_fs=default_fs) == location


@pytest.mark.parametrize(
    "default_fs", [None, "", "hdfs://", "viewfs://cluster", "s3a://b", "hdfs://nn/x", "/x", "hdfs"]
)
def test_path_without_a_usable_default_is_refused(default_fs: str | None) -> None:
    with pytest.raises(PermanentError, match="E_DST_NO_DEFAULT_FS") as caught:
        parse_destination("/x", default_fs=default_fs)
    # A default that is set and cannot be used is not helped by naming its directory.
    assert ("HADOOP_CONF_DIR" in caught.value.hint) == (default_fs is None)
    if default_fs == "viewfs://cluster":
        assert "viewfs://cluster is not hdfs:// or file://" in caught.value.message
    assert parse_destination("hdfs://nn:1/x", default_fs=default_fs).uri == "hdfs://nn:1/x"
    with pytest.raises(PermanentError, match="E_DST_ROOT"):
        parse_destination("/", default_fs=default_fs)


@pytest.mark.parametrize("host", ["nn..example.com", "nn.", ".nn", f"{'n' * 64}.example.com"])
def test_a_host_that_no_name_server_can_know_is_refused(host: str) -> None:
    for text in (f"hdfs://{host}/x", f"hdfs://{host}:8020/x"):
        with pytest.raises(PermanentError, match="E_DST_AUTHORITY"):
            parse_destination(text, default_fs=None)
    longest = f"{'n' * 63}.a_b.{'n' * 63}"
    assert parse_destination(f"hdfs://{longest}/x", default_fs=None).authority == longest


@pytest.mark.parametrize("text", ["hdfs://nn/x", "hdfs://NN:8020/x"])
def test_default_file_system_has_one_name(text: str) -> None:
    with pytest.raises(PermanentError, match="E_DST_AUTHORITY") as caught:
        parse_destination(text, default_fs="hdfs://nn:8020")
    assert caught.value.hint == "write hdfs://nn:8020/dir, or /dir"
    assert parse_destination("hdfs://nn:9000/x", default_fs="hdfs://nn:8020").authority == "nn:9000"


BED = FileSystems(
    default="hdfs://nn:8020",
    nameservices=frozenset({"bed", "broken"}),
    faults=(("broken", "nameservice broken: dfs.ha.namenodes.broken is not set"),),
)


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("/x", "nn:8020"),
        ("hdfs://nn/x", "nn:8020"),
        ("hdfs://nn:8020/x", "nn:8020"),
        ("hdfs://other/x", "other:8020"),
        ("hdfs://other:9000/x", "other:9000"),
        ("hdfs://bed/x", "bed"),
    ],
)
def test_a_host_without_a_port_has_that_of_hdfs(text: str, authority: str) -> None:
    found = parse_destination(text, default_fs=BED)
    assert found.authority == authority
    assert parse_destination(found.uri, default_fs=BED) == found


def test_routes_that_name_one_file_system_in_two_ways_overlap() -> None:
    routes = [
        parse_allow(f"s3://bucket/p/ -> {place}/x/", default_fs=BED)
        for place in ("hdfs://other", "hdfs://other:8020", "hdfs://other:9000")
    ]
    refuse_overlaps(routes[1:])
    with pytest.raises(ConfigurationError, match="E_CFG_OVERLAP"):
        refuse_overlaps(routes[:2])


def test_a_destination_that_an_older_ledger_holds_is_still_the_same() -> None:
    for uri in ("hdfs://nn:8020/x", "hdfs://bed/x", "hdfs://other:9000/x", "file:///x"):
        assert parse_destination(uri, default_fs=BED).uri == uri
    assert parse_destination("/x", default_fs=BED).uri == "hdfs://nn:8020/x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hdfs://bed:8020/x", "bed is a nameservice"),
        ("hdfs://broken/x", "dfs.ha.namenodes.broken is not set"),
        ("hdfs://NN/x", "under another name"),
    ],
)
def test_a_nameservice_takes_no_port_and_a_broken_one_no_file(text: str, words: str) -> None:
    with pytest.raises(PermanentError, match="E_DST_AUTHORITY") as caught:
        parse_destination(text, default_fs=BED)
    assert words in caught.value.message


def test_astral_characters_count_twice_towards_the_path_limit() -> None:
    parse_destination("/🚀🚀🚀" * 1000, default_fs=DEFAULT_FS)
    with pytest.raises(PermanentError, match="E_DST_LIMIT"):
        parse_destination("/🚀🚀🚀🚀" * 900, default_fs=DEFAULT_FS)


PATHS = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1),
    min_size=1,
).map(lambda segments: "/" + "/".join(segments))
DESTINATIONS = (
    st.text(st.characters())
    | st.text(st.sampled_from("/.:@-ahdfsile\x00é\ud800"))
    | st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "hdfs://ns", "hdfs://nn:8020", "file://", "s3a://b", "hdfs://u@h"]),
        PATHS,
        st.sampled_from(["", "/", "//"]),
    )
)


@given(DESTINATIONS, st.sampled_from([None, DEFAULT_FS, "hdfs://nn:8020", "file:///", "wasb://x"]))
def test_any_text_is_a_canonical_destination_or_a_refusal(
    text: str, default_fs: str | None
) -> None:
    try:
        location = parse_destination(text, default_fs=default_fs)
    except PermanentError as error:
        assert_fit_for_an_operator(error)
        return
    assert parse_destination(location.uri, default_fs=default_fs) == location
    assert parse_destination(location.uri, default_fs=None) == location
    assert not location.path.endswith("/")
    segments = location.path[1:].split("/")
    assert not {"", ".", "..", ".snapshot", ".backhaul", ".Trash"} & set(segments)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/é/../x", "destination /é/../x has the segment '..' at byte 4"),
        ("hdfs://nn/é:x", "destination /é:x has ':' at byte 3, which HDFS refuses"),
        ("//user:secret@host/x", "destination ***@host/x has an empty segment at byte 1"),
    ],
)
def test_refused_destination_names_the_byte_of_its_path(text: str, place: str) -> None:
    with pytest.raises(PermanentError) as caught:
        parse_destination(text, default_fs=DEFAULT_FS)
    assert caught.value.message == place


# ---------------------------------------------------------------- names below a destination


@given(st.text(st.characters()) | st.text(st.sampled_from("%:3A25a")), st.sampled_from(NameMap))
def test_mapped_name_maps_back(key: str, name_map: NameMap) -> None:
    assert unmap_name(map_name(key, name_map), name_map) == key


@given(st.text(st.sampled_from("%:3A25a")), st.text(st.sampled_from("%:3A25a")))
def test_different_keys_keep_different_names(one: str, other: str) -> None:
    assume(one != other)
    assert map_name(one, NameMap.PERCENT) != map_name(other, NameMap.PERCENT)


@given(
    PATHS,
    st.text(st.characters()) | st.text(st.sampled_from("./a%:")) | PATHS.map(lambda path: path[1:]),
    st.sampled_from(NameMap),
)
def test_target_stays_strictly_below_its_destination(
    directory: str, key: str, name_map: NameMap
) -> None:
    try:
        destination = parse_destination(directory, default_fs=DEFAULT_FS)
        relative = target_relative(destination, key, name_map)
    except BackhaulError:
        return
    target = destination.join(relative)
    assert target.is_within(destination)
    assert target != destination
    assert parse_destination(target.uri, default_fs=None) == target
    assert unmap_name(relative, name_map) == key


def test_target_path_is_limited_as_a_whole() -> None:
    deep = Location(scheme="hdfs", authority="ns", path="/a" * 998)
    assert target_relative(deep, "b/c", NameMap.STRICT) == "b/c"
    with pytest.raises(PermanentError, match="E_DST_LIMIT"):
        target_relative(deep, "b/c/d", NameMap.STRICT)


def test_colon_names_the_way_out() -> None:
    with pytest.raises(PermanentError, match="t=1:2@x has ':' at byte 3") as caught:
        target_relative(LANDING, "t=1:2@x", NameMap.STRICT)
    assert caught.value.hint == 'set name_map = "percent" on the route'


# ---------------------------------------------------------------- text for people


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 🚀", "plain é 🚀"),
        ("a\r\n\t\x1b[0m\x9f", r"a\r\n\t\x1b[0m\x9f"),
        ("a\\nb", r"a\\nb"),
        ("\u202egpj.exe\u2028", r"\u202egpj.exe\u2028"),
        ("\ud800\U000e0001", r"\ud800\U000e0001"),
        ("a" * 201, "a" * 199 + "…"),
        ("a" * 200, "a" * 200),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()), st.integers(1, 300))
def test_printable_is_one_short_line(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:sec/ret@bucket/a, /x", "s3://***@bucket/a, /x"),
        ('{"source":"s3a://key:s@bucket/a"}', '{"source":"s3a://***@bucket/a"}'),
        ("key:secret@bucket/a", "***@bucket/a"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("https://b/k?X-Amz-Signature=c0ffee&x=1", "https://b/k?X-Amz-Signature=***&x=1"),
        (
            "https://b/k?AWSAccessKeyId=A&Signature=c0ffee",
            "https://b/k?AWSAccessKeyId=***&Signature=***",
        ),
        ("b/k?X-Amz-Security-Token=c0ffee", "b/k?X-Amz-Security-Token=***"),
        ("b/X-Amz-Signature=c0ffee/x", "b/X-Amz-Signature=***"),
        ("b/k?sv=1&sig=c0%2Fffee", "b/k?sv=1&sig=***"),
        ('{"password": "c0ffee", "v": 1}', '{"password": "***", "v": 1}'),
        ("db_password=c0ffee; user=me", "db_password=***; user=me"),
        ("aws_secret_access_key = c0/ffee", "aws_secret_access_key = ***"),
        ("key AKIAIOSFODNN7EXAMPLE here", "key AKIA*** here"),
        (f"ASIAIOSFODNN7EXAMPLE {'c0/fFee+' * 5}", "ASIA*** ***"),
        ("Authorization: AWS4-HMAC-SHA256 Credential=c0ffee", "Authorization: ***"),
        ('Authorization: Basic x password="c0ffee c0ffee"', 'Authorization: ***"***"'),
        ("sent Bearer c0ffee.c0ffee-", "sent Bearer ***"),
        ("a eyJhbGciOiJIUzI1NiJ9.c0ffee.c0ffee b", "a *** b"),
        ("x -----BEGIN RSA PRIVATE KEY-----\nc0ffee", "x ***"),
        ("http://c0ffee@host/", "http://***@host/"),
        ("-Dfs.s3a.secret.key=minio-c0ffee", "-Dfs.s3a.secret.key=***"),
        ('{"fs.s3a.secret.key": "c0ffee"}', '{"fs.s3a.secret.key": "***"}'),
        ("fs.s3a.encryption.key: c0ffee", "fs.s3a.encryption.key: ***"),
        ("fs.s3a.server-side-encryption.key=c0ffee", "fs.s3a.server-side-encryption.key=***"),
        ("fs.s3a.bucket.raw.access.key=c0ffee", "fs.s3a.bucket.raw.access.key=***"),
        ("fs.s3a.session.token=c0ffee x", "fs.s3a.session.token=*** x"),
        (
            "fs.azure.account.key.acme.blob.core.windows.net=c0ffee",
            "fs.azure.account.key.acme.blob.core.windows.net=***",
        ),
        ("ssl.server.keystore.password.file=c0ffee", "ssl.server.keystore.password.file=***"),
        ('password: "two c0ffee"', 'password: "***"'),
        ("{'token': 'a \"c0ffee\" b', 'v': 1}", "{'token': '***', 'v': 1}"),
        ('{"password": "a\\"c0ffee", "v": 1}', '{"password": "***", "v": 1}'),
        ('{"password": "no end c0ffee', '{"password": "***'),
        ('"{\\"secret\\": \\"c0ffee x\\"}"', '"{\\"secret\\": \\"***\\"}"'),
        ("{'password': b'two c0ffee'}", "{'password': b'***'}"),
        (
            "<name>fs.s3a.secret.key</name>\n  <value>c0ffee</value>",
            "<name>fs.s3a.secret.key</name>\n  <value>***",
        ),
        ('{"password": ""}', '{"password": ""}'),
        ("password          =          c0ffee", "password          =          ***"),
        ("b/k?pass=c0ffee&x=1", "b/k?pass=***&x=1"),
        ("DB_PASS: c0ffee", "DB_PASS: ***"),
        ("passphrase=c0ffee", "passphrase=***"),
        ('{"pw": "c0ffee"}', '{"pw": "***"}'),
        ("proxy.auth=c0ffee", "proxy.auth=***"),
        ("Cookie: a=c0ffee; b=c0ffee", "Cookie: ***"),
        ("Set-Cookie: a=c0ffee; Path=/", "Set-Cookie: ***"),
        (
            f"Invalid header value b'IQoJb3JpZ2luX2VjE{'c0/fFee+' * 5}'",
            "Invalid header value b'***'",
        ),
        # As S3's events carry keys: percent-encoded, once or twice.
        ("b/k%3FX-Amz-Signature%3Dc0ffee%26x%3D1", "b/k%3FX-Amz-Signature%3D***"),
        ("b/k%3fx-amz-security-token%3dc0ffee", "b/k%3fx-amz-security-token%3d***"),
        ("b/k%3Fv%3D1%26sig%3Dc0ffee", "b/k%3Fv%3D1%26sig%3D***"),
        ("b/k%253Fpassword%253Dc0ffee", "b/k%253Fpassword%253D***"),
        ("%7B%22password%22%3A%22c0ffee%22%7D", "%7B%22password%22%3A***"),
        ("https%3A%2F%2Fu%3Ac0ffee%40h%2Fa", "https%3A%2F%2F***%40h%2Fa"),
        ("https%3A%2F%2Fc0ffee%40h", "https%3A%2F%2F***%40h"),
        ("u%3Ac0ffee%40h", "***%40h"),
        ("https://c0f%40fee@h/a%40b", "https://***@h/a%40b"),
        ("Authorization%3A%20Basic%20c0ffee", "Authorization%3A%20***"),
        # No secrets: a partition, a file, a checksum, a sentence.
        ("raw/secret.key=5/part-0", "raw/secret.key=5/part-0"),
        ("the primary key: 5", "the primary key: 5"),
        ("raw/token=5/part-0", "raw/token=5/part-0"),
        ("raw/secrets/passwords.csv, /x", "raw/secrets/passwords.csv, /x"),
        ("da39a3ee5e6b4b0d3255bfef95601890afd80709", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("signature is not this route's", "signature is not this route's"),
        ("bucket/a, /x", "bucket/a, /x"),
        ("raw%2Ftoken%3D5%2Fpart-0", "raw%2Ftoken%3D5%2Fpart-0"),
        ("raw/cookie=5/part-0, /x", "raw/cookie=5/part-0, /x"),
        ("raw/t%3D1/a%40b", "raw/t%3D1/a%40b"),
        ("/d/t=1%3A2@x", "/d/t=1%3A2@x"),
        *[(word, word) for word in ("bypass=1", "passed=2", "author=me", "pwm=3", "cookies: 2")],
        ("me@A.ORG (auth:KERBEROS) is not allowed", "me@A.ORG (auth:KERBEROS) is not allowed"),
    ],
)
def test_redacted(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "name",
    [
        *(
            "fs.s3a.access.key",
            "fs.s3a.secret.key",
            "fs.s3a.session.token",
            "fs.s3a.encryption.key",
        ),
        *("fs.s3a.bucket.b.server-side-encryption.key", "hadoop.security.token.service.use_ip"),
        *("ssl.client.truststore.password", "hadoop.http.authentication.signature.secret.file"),
    ],
)
def test_value_of_a_secret_property_of_hadoop_is_hidden(name: str) -> None:
    assert is_secret(name)
    for text in (f"-D{name}=c0ffee", f'"{name}": "c0ffee"', f"{name}: c0ffee"):
        assert "c0ffee" not in redacted(text)


@pytest.mark.parametrize(
    "piece",
    [
        *("a.", "secret", "secret.", 'secret="', "token: ", 'token="\\', "access.key"),
        *("%3Ftoken", "%2F%2Fa", "a%3Ab%40"),
    ],
)
def test_redacting_takes_time_in_proportion_to_the_text(piece: str) -> None:
    def seconds(count: int) -> float:
        began_s = time.perf_counter()
        redacted(piece * count)
        return time.perf_counter() - began_s

    # Quadratic time would be 100 times as long.
    assert min(seconds(20_000) for _ in range(3)) < 50 * min(seconds(2_000) for _ in range(3))


# ---------------------------------------------------------------- names that nobody can see

UNSEEN = ["\u202e", "\u200b", "\u200d", "\u2066", "\ufeff", "\u00ad", "\u2028", "\U000e0041"]


@pytest.mark.parametrize("char", UNSEEN, ids=ascii)
def test_an_invisible_character_is_refused_or_escaped(char: str) -> None:
    place = parse_destination("/land", default_fs="hdfs://ns")
    key = f"a/b{char}100%:c"
    with pytest.raises(PermanentError, match="E_KEY_INVISIBLE") as caught:
        target_relative(place, key, NameMap.STRICT)
    assert f"U+{ord(char):04X}" in caught.value.message
    assert caught.value.message.isprintable()
    name = target_relative(place, key, NameMap.PERCENT)
    assert char not in name
    assert unmap_name(name, NameMap.PERCENT) == key
    with pytest.raises(PermanentError, match="E_KEY_INVISIBLE"):
        parse_destination(f"/land/x{char}", default_fs="hdfs://ns")


@given(st.text(st.sampled_from(["a", "%", ":", "2", "5", "E", "é", "€", *UNSEEN]), max_size=12))
def test_percent_gives_every_name_back(key: str) -> None:
    assert unmap_name(map_name(key, NameMap.PERCENT), NameMap.PERCENT) == key


def test_an_unfinished_job_is_named() -> None:
    place = parse_destination("/land", default_fs="hdfs://ns")
    with pytest.raises(PermanentError, match="job that has not ended") as caught:
        target_relative(place, "out/_temporary/0/task/part-0", NameMap.STRICT)
    assert "when the job has ended" in caught.value.hint
    assert target_relative(place, "_temporary2/x", NameMap.STRICT) == "_temporary2/x"
