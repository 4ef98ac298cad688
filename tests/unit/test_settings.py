"""Every mistake in the configuration is named with its file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from backhaul.core.errors import ConfigurationError
from backhaul.core.model import Location, OnExists
from backhaul.core.ports.cluster import ClusterRules
from backhaul.settings.load import find_config, load_part, load_settings
from backhaul.settings.metrics import split_listen
from backhaul.settings.model import ENV_PREFIX, Settings, schema
from backhaul.settings.routes import make_routes
from backhaul.settings.sizes import parse_size

ROUTE = """
[[route]]
name = "clicks"
source = ["s3://raw/click/"]
destination = ["/landing/"]
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


def load(directory: Path, text: str) -> Settings:
    path = directory / "backhaul.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def refused(directory: Path, text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(directory, text)
    return caught.value


def routes(directory: Path, text: str) -> ConfigurationError:
    settings = load(directory, text)
    with pytest.raises(ConfigurationError) as caught:
        make_routes(settings, directory / "backhaul.toml", "hdfs://ns1")
    return caught.value


# ---------------------------------------------------------------- good


def test_without_a_file_there_are_defaults() -> None:
    settings = load_settings(None)

    assert settings.agent.slots == 4
    assert settings.route == []


def test_route_of_the_file_becomes_policy(tmp_path: Path) -> None:
    text = ROUTE + 'on_exists = "fail"\nlimits = { objects = 5, bytes = "5TiB", in_flight = 2 }\n'
    (route,) = make_routes(load(tmp_path, text), tmp_path, "hdfs://ns1")

    assert route.sources == (("raw", "click/"),)
    assert route.destinations == (Location(scheme="hdfs", authority="ns1", path="/landing"),)
    assert route.on_exists is OnExists.FAIL
    assert (route.limits.objects, route.limits.in_flight) == (5, 2)
    assert route.limits.size_bytes == 5 * 1024**4


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5TiB", 5 * 1024**4),
        ("200MB", 200_000_000),
        ("1.5 KiB", 1536),
        ("7", 7),
        ("7 B", 7),
        ("5 tib", 5 * 1024**4),
        ("50M", 50_000_000),
        ("200KB", 200_000),
        ("64Ki", 65_536),
        ("0.1TB", 100_000_000_000),
        ("1.001kB", 1001),
        ("8.2 kB", 8200),
        ("1.0000000000000001 PB", 1_000_000_000_000_000),
        ("8191.9999999999999 PiB", 2**63 - 113),
        ("0.9", 0),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_size_has_a_unit_or_none(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "5TB/s", "MiB", "-1", "iB", "1e3", "400Mbit", "9" * 400, "9000000TiB", "1,000", "٣"],
)
def test_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '[agent]\nslots = "four"\n',
            "slots must be a whole number from 1 to 64, not 'four'",
        ),
        ("[agent]\nslots = 65\n", "agent.slots must be a whole number from 1 to 64, not 65"),
        ("[agent]\npoll_wait_s = 1.5\n", "a whole number from 0 to 20, not 1.5"),
        ("[agent]\nbackoff_base_s = 0\n", "must be a number above 0, not 0"),
        ("[agent]\nstop_grace_s = -1\n", "must be a number, 0 or more, not -1"),
        ("[distcp]\npoll_s = 0\n", "must be a number above 0 and up to 300, not 0"),
        ("[log]\nfile_bytes = 5\n", "must be a whole number, 10,000 or more, not 5"),
        ('[log]\nlevel = "loud"\n', "log.level is 'loud': String must match"),
        ("[log]\nlevel = 5\n", "log.level must be text in quotes, not 5"),
        ("ledger = 5\n", "ledger must be a path in quotes, not 5"),
        ("agent = 5\n", "agent must be a table, not 5"),
        (ROUTE + 'on_exists = "maybe"\n', "must be 'replace', 'same-ok' or 'fail', not 'maybe'"),
        (ROUTE + 'limits = { objects = "x" }\n', "must be a whole number, 1 or more, not 'x'"),
        ('[bandwidth]\nlimit = "fast"\n', "is 'fast': write a rate such as 50MB/s"),
        ('[[route]]\nname = "a"\n', "route.0.source is missing"),
        ('[metrics]\nlisten = ":9187"\n', "metrics.listen is ':9187': write HOST:PORT, such as"),
        ("[metrics]\nlisten = 9187\n", "metrics.listen must be text in quotes, not 9187"),
        ('[metrics]\ntextfile = ""\n', "write a path, or leave the setting out"),
    ],
)
def test_a_wrong_value_is_answered_with_what_would_be_right(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert sentence in caught.value.message
    assert "\n" not in caught.value.message


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKHAUL_AGENT__SLOTS", "7")

    assert load(tmp_path, "[agent]\nslots = 2\npoll_wait_s = 1\n").agent.slots == 7


def test_schema_knows_every_section() -> None:
    assert {"ledger", "agent", "log", "route"} <= schema()["properties"].keys()


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("text", "line", "code", "name"),
    [
        ("nonsense = 1\n", 1, "E_CFG_UNKNOWN", "nonsense"),
        ("\n[agent]\nslot = 1\n", 3, "E_CFG_UNKNOWN", "agent.slot"),
        ("[agent]\nslots = 1\n\nslots2 = 1\n", 4, "E_CFG_UNKNOWN", "slots2"),
        (ROUTE + ROUTE + 'senderz = ["x"]\n', 11, "E_CFG_UNKNOWN", "senderz"),
        ("[agent]\nslots = 'many'\n", 2, "E_CFG_VALUE", "agent.slots"),
        ("[agent]\nslots = 0\n", 2, "E_CFG_VALUE", "agent.slots"),
        ("[log]\nfile_bytes = '5 TB/s'\n", 2, "E_CFG_VALUE", "log.file_bytes"),
        (ROUTE + 'on_exists = "perhaps"\n', 6, "E_CFG_VALUE", "on_exists"),
        (ROUTE + "senders = []\n", 6, "E_CFG_VALUE", "senders"),
        ("[[route]]\nname = 'x'\n", 1, "E_CFG_VALUE", "source"),
        ("route = 3\n", 1, "E_CFG_VALUE", "route"),
    ],
)
def test_mistake_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, code: str, name: str
) -> None:
    error = refused(tmp_path, text)

    assert error.code == code
    assert f"{tmp_path / 'backhaul.toml'}, line {line}: " in error.message
    assert name in error.message
    assert error.hint


def test_a_syntax_error_is_named_with_its_line(tmp_path: Path) -> None:
    error = refused(tmp_path, "[agent]\nslots =\n")

    assert error.code == "E_CFG_TOML"
    assert "line 2" in error.message


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        (f"a = {'[' * 20_000}", "E_CFG_TOML", "nested too deeply"),
        (f"a = {'{a=' * 20_000}", "E_CFG_TOML", "nested too deeply"),
        (f"{'a.' * 4_000}b = 1", "E_CFG_UNKNOWN", "unknown setting a"),
        (f"ledger = {'1' * 5000}", "E_CFG_TOML", "4300 digits"),
        (f"[agent]\nslots = 0x{'f' * 40_000}", "E_CFG_VALUE", "agent.slots must be a whole number"),
        (f"[agent]\nbackoff_base_s = 0x{'f' * 40_000}", "E_CFG_VALUE", "agent.backoff_base_s"),
        (f"[agent]\nstop_grace_s = 0x{'f' * 4_000}", "E_CFG_VALUE", "agent.stop_grace_s"),
        (f"[bandwidth]\nlimit = 1{'0' * 400}", "E_CFG_VALUE", "write a rate"),
        (f"[log]\nfile_bytes = 1{'0' * 400}", "E_CFG_VALUE", "write a size"),
        ('ledger = ""', "E_CFG_VALUE", "ledger is '': write a path"),
        ('[log]\nfile = ""', "E_CFG_VALUE", "log.file is '': write a path"),
        (r'ledger = "/a\u0000b"', "E_CFG_VALUE", "a path has no NUL"),
        ('[log]\nfile = "/a\\u0000b"', "E_CFG_VALUE", "a path has no NUL"),
        ('[distcp]\nhadoop = "/a\\u0000b"', "E_CFG_VALUE", "a path has no NUL"),
        (
            '[kerberos]\nprincipal = "a@B"\nkeytab = "/a\\u0000b"',
            "E_CFG_VALUE",
            "a path has no NUL",
        ),
    ],
    ids=lambda text: text[:30],
)
def test_what_is_odd_inside_is_refused_by_name(
    tmp_path: Path, text: str, code: str, part: str
) -> None:
    error = refused(tmp_path, text)
    assert error.code == code
    assert part in error.message
    assert len(error.message) < 1000
    assert "\0" not in error.message


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("BACKHAUL_ROUTE", "[" * 100_000, "E_CFG_ENV"),
        ("BACKHAUL_AGENT", f'{{"slots": {"1" * 5000}}}', "E_CFG_ENV"),
        ("BACKHAUL_AGENT__SLOTS", "1" * 5000, "E_CFG_VALUE"),
        ("BACKHAUL_LEDGER", "", "E_CFG_VALUE"),
    ],
)
def test_what_is_odd_in_a_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, code: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None)
    assert caught.value.code == code
    assert name in caught.value.message


def test_a_path_that_cannot_be_looked_at_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKHAUL_CONFIG", str(tmp_path / ("a" * 300)))
    with pytest.raises(ConfigurationError, match=r"E_CFG_FILE.*too long"):
        find_config(None)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "backhaul.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match="E_CFG_FILE"):
        load_settings(path)


@pytest.mark.parametrize("name", ["BACKHAUL_SLOTS", "BACKHAUL_AGENTS__SLOTS"])
def test_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")

    with pytest.raises(ConfigurationError) as caught:
        load_settings(None)
    assert caught.value.code == "E_CFG_ENV"
    assert name in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("BACKHAUL_ROUTE", "c0ffee"), ("BACKHAUL_ROUTE", "["), ("BACKHAUL_AGENT", "c0ffee")),
        *(("BACKHAUL_ROUTE", '["c0ffee"]'), ("BACKHAUL_ROUTE", '{"c0ffee":1}')),
        *(("BACKHAUL_ROUTE__0__NAME", "c0ffee"), ("BACKHAUL_AGENT__SLOTS__X", "c0ffee")),
        *(("BACKHAUL_LOG", '{"level":"c0ffee"}'), ("BACKHAUL_LOG__FILE_BYTES", "c0ffee")),
        *(("BACKHAUL_KERBEROS", '"c0ffee"'), ("BACKHAUL_DISTCP", "null c0ffee")),
    ],
)
@pytest.mark.parametrize("names", [None, ("route",), ("agent", "log", "kerberos", "distcp")])
def test_a_section_in_the_environment_is_a_configuration_error_that_hides_the_value(
    name: str, value: str, names: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    if names is None:
        with pytest.raises(ConfigurationError) as caught:
            load_settings(None)
        fault: ConfigurationError | None = caught.value
    else:
        try:
            _, fault = load_part(None, names)
        except ConfigurationError as error:
            fault = error
    assert fault is not None
    assert name in fault.message
    assert "c0ffee" not in f"{fault} {fault.hint}"
    assert fault.exit_code == 78


def test_wrong_value_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKHAUL_AGENT__SLOTS", "many")

    with pytest.raises(ConfigurationError, match=r"environment.*slots"):
        load_settings(None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("s3://raw/click/", "s3://raw/click"),
        ("/landing/", "/landing"),
        ("/landing/", "landing/"),
        ("s3://raw/click/", "ftp://raw/click/"),
    ],
)
def test_route_that_cannot_be_one_is_named(tmp_path: Path, old: str, new: str) -> None:
    error = routes(tmp_path, ROUTE.replace(f'"{old}"', f'"{new}"'))

    assert error.code == "E_CFG_ROUTE"
    assert "route clicks" in error.message
    assert error.hint


def test_two_routes_of_one_name_are_refused(tmp_path: Path) -> None:
    error = routes(tmp_path, ROUTE + ROUTE)

    assert error.code == "E_CFG_ROUTE"
    assert "two routes are named clicks" in error.message


def test_the_section_of_distcp_becomes_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "backhaul.toml"
    path.write_text(
        '[distcp]\nqueue = "etl"\nauto_min_bytes = "1TiB"\nbandwidth = "2GB"\nmax_maps = 7\n'
        "queue_timeout_s = 60\n"
    )
    rules = load_settings(path).distcp.rules
    assert rules == ClusterRules(
        queue="etl",
        auto_min_bytes=1024**4,
        bandwidth_bytes=2_000_000_000,
        max_maps=7,
        queue_timeout_s=60.0,
    )


def test_the_defaults_are_those_of_the_rules() -> None:
    assert load_settings(None).distcp.rules == ClusterRules()


# ---------------------------------------------------------------- where files are


def test_named_file_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="--config names"):
        find_config(tmp_path / "none")
    monkeypatch.setenv("BACKHAUL_CONFIG", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="BACKHAUL_CONFIG names"):
        find_config(None)


def test_users_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert find_config(None) in {None, Path("/etc/backhaul/backhaul.toml")}
    path = tmp_path / "backhaul" / "backhaul.toml"
    path.parent.mkdir()
    path.touch()

    assert find_config(None) in {path, Path("/etc/backhaul/backhaul.toml")}
    assert find_config(path) == path


def test_ledger_is_where_state_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert load_settings(None).ledger_path == tmp_path / "backhaul" / "ledger.db"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/backhaul:/other")
    assert load_settings(None).ledger_path == Path("/var/lib/backhaul/ledger.db")
    assert load(tmp_path, "ledger = '/x/y.db'\n").ledger_path == Path("/x/y.db")


# ---------------------------------------------------------------- events and signatures

EVENTS = ROUTE + 'event_destination = "/landing/{rel_dir}/"\n'


def test_route_for_events_becomes_policy(tmp_path: Path) -> None:
    text = EVENTS + (
        'event_other = "ignore"\nmarker = "_SUCCESS"\nqueues = ["q"]\n'
        'source_owner = "123456789012"\nlimits = { per_minute = 3 }\n'
        'emr = [{ step = "S", cluster = "j-1", source = "s3://raw/click/o/",'
        ' destination = "/landing/o/" }]\n'
    )
    (route,) = make_routes(load(tmp_path, text), tmp_path, "hdfs://ns1")
    assert route.event_destination == "/landing/{rel_dir}/"
    assert (route.marker, route.source_owner) == ("_SUCCESS", "123456789012")
    assert (route.queues, route.limits.per_minute) == (frozenset({"q"}), 3)
    (rule,) = route.steps
    assert (rule.step, rule.cluster, rule.source.uri) == ("S", "j-1", "s3://raw/click/o/")


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ('event_destination = "/other/{rel_dir}/"', "does not begin inside"),
        ('event_destination = "/landing/{name}/"', "{name}"),
        ('event_destination = "/landing/../etc/"', "'..'"),
        ('marker = "_SUCCESS"', "event_destination is not"),
        ('event_destination = "/landing/"\nmarker = "a/_SUCCESS"', "marker has a '/'"),
        ('senders = ["*"]', "senders"),
        ('senders = [""]', "senders"),
        ('queues = ["work*"]', "queues"),
        (
            'emr = [{ step = "S", source = "s3://raw/other/", destination = "/landing/" }]',
            "leads out of the route",
        ),
        (
            'emr = [{ step = "S", source = "s3://raw/click/", destination = "/landing-evil/" }]',
            "leads out of the route",
        ),
        ("signature = {}", "exactly one of key_file and key_env"),
        ('signature = { key_file = "/k", key_env = "K" }', "exactly one of key_file and key_env"),
    ],
)
def test_rule_for_events_that_leads_out_is_named(tmp_path: Path, line: str, part: str) -> None:
    error = routes(tmp_path, f"{ROUTE}{line}\n")
    assert error.code == "E_CFG_ROUTE"
    assert "route clicks" in error.message
    assert part in error.message


@pytest.mark.parametrize("owner", ["", "1234", "12345678901x", "1234567890123"])
def test_owner_is_an_account(tmp_path: Path, owner: str) -> None:
    assert refused(tmp_path, f'{ROUTE}source_owner = "{owner}"\n').code == "E_CFG_VALUE"


def test_overlapping_routes_are_refused(tmp_path: Path) -> None:
    error = routes(tmp_path, ROUTE + ROUTE.replace("clicks", "more"))
    assert error.code == "E_CFG_OVERLAP"
    assert "clicks and more" in error.message


def keyed(tmp_path: Path, text: str | None, mode: int = 0o600) -> str:
    key_file = tmp_path / "key"
    if text is not None:
        key_file.write_text(text)
        key_file.chmod(mode)
    return f'{ROUTE}signature = {{ key_file = "{key_file}" }}\n'


def test_keys_are_lines_and_never_shown(tmp_path: Path) -> None:
    text = keyed(tmp_path, f"{'a' * 32}\n\n  {'b' * 40}\n")
    (route,) = make_routes(load(tmp_path, text), tmp_path, "hdfs://ns1")
    assert route.signature is not None
    assert route.signature.keys == (b"a" * 32, b"b" * 40)
    assert "aaa" not in repr(route)


@pytest.mark.parametrize(
    ("text", "mode"),
    [(None, 0), ("", 0o600), ("short\n", 0o600), ("a" * 31, 0o600), ("a" * 32, 0o604)],
)
def test_unusable_keys_are_refused_unseen(tmp_path: Path, text: str | None, mode: int) -> None:
    error = routes(tmp_path, keyed(tmp_path, text, mode))
    assert error.code == "E_CFG_KEY"
    assert not text or text.strip() not in f"{error.message}{error.hint}"


def test_keys_may_come_from_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ROUTE + 'signature = { key_env = "MY_KEY" }\n'
    assert routes(tmp_path, text).code == "E_CFG_KEY"
    monkeypatch.setenv("MY_KEY", "c" * 32)
    (route,) = make_routes(load(tmp_path, text), tmp_path, "hdfs://ns1")
    assert route.signature is not None
    assert route.signature.keys == (b"c" * 32,)


# ---------------------------------------------------------------- who the agent is


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[kerberos]\nkeytab = "/k"\n', "need a principal"),
        ('[kerberos]\ncache = "FILE:/c"\n', "need a principal"),
        ('[kerberos]\nprincipal = "p"\nkeytab = "/k"\ncache = "FILE:/c"\n', "not both"),
        (ROUTE + 'run_as = ""\n', "run_as"),
        (ROUTE + 'run_as = "a b"\n', "run_as"),
    ],
)
def test_half_a_login_is_refused(tmp_path: Path, text: str, part: str) -> None:
    error = refused(tmp_path, text)
    assert error.code == "E_CFG_VALUE"
    assert part in error.message


def test_a_route_to_a_mounted_directory_cannot_act_for_somebody(tmp_path: Path) -> None:
    mounted = ROUTE.replace("/landing/", "file:///landing/") + 'run_as = "alice"\n'
    error = routes(tmp_path, mounted)
    assert error.code == "E_CFG_ROUTE"
    assert "run_as" in error.message


def test_a_route_acts_for_whom_it_names(tmp_path: Path) -> None:
    (route,) = make_routes(load(tmp_path, ROUTE + 'run_as = "alice"\n'), tmp_path, "hdfs://ns1")
    assert route.run_as == "alice"


# ---------------------------------------------------------------- metrics


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9187", ("127.0.0.1", 9187)),
        ("localhost:1", ("localhost", 1)),
        ("edge1.example.com:65535", ("edge1.example.com", 65_535)),
        ("[::1]:9187", ("::1", 9187)),
        ("[::]:9187", ("::", 9187)),
    ],
)
def test_an_address_for_metrics(tmp_path: Path, text: str, address: tuple[str, int]) -> None:
    assert load(tmp_path, f'[metrics]\nlisten = "{text}"\n').metrics.address == address
    assert load(tmp_path, "").metrics.address is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "9187", "host", "host:", ":1", "a:b", "h:-1", "h:1.5", "h:123456", "a b:1", "u@h:1"),
        *("http://h:1", "h:1/metrics", "::1:9187", "[127.0.0.1]:1", "[x]:1", "[]:1", "-h:1", "*:1"),
        *("h\u0661:1", "h:\u0661", "h" * 260 + ":1"),
    ],
)
def test_what_is_no_address_for_metrics_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write HOST:PORT"):
        split_listen(text)


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_that_there_is_not_is_refused(port: str) -> None:
    with pytest.raises(ValueError, match="a port is from 1 to 65535"):
        split_listen(f"h:{port}")
