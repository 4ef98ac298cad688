"""The reader of Hadoop's configuration; `contract/test_hadoop_truth.py` compares it with Java."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from backhaul.adapters.hadoop.configuration import directory as hadoop_directory
from backhaul.adapters.hadoop.configuration.directory import hadoop_conf_dir
from backhaul.adapters.hadoop.configuration.filesystems import (
    client_properties,
    default_filesystem,
    demands_kerberos,
    file_systems,
    namenodes,
)
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.creation import creation_rules
from backhaul.core.errors import ConfigurationError, PermanentError
from backhaul.core.file_systems import FileSystems
from backhaul.core.requests.paths import parse_destination

XINCLUDE = ' xmlns:xi="http://www.w3.org/2001/XInclude"'


def write(path: Path, body: str, *, attributes: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<?xml version="1.0"?>\n<configuration{attributes}>\n{body}\n</configuration>')


def prop(name: str, value: str, more: str = "") -> str:
    return f"<property><name>{name}</name><value>{value}</value>{more}</property>\n"


def read(tmp_path: Path, core: str, hdfs: str = "", **environment: str) -> HadoopConfiguration:
    write(tmp_path / "core-site.xml", core, attributes=XINCLUDE)
    write(tmp_path / "hdfs-site.xml", hdfs, attributes=XINCLUDE)
    return HadoopConfiguration.load(tmp_path, environment=environment)


# ---------------------------------------------------------------- the forms of a property


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (prop("a", "x"), "x"),
        (prop(" a ", "\n  x y\n"), "x y"),
        ('<property name="a" value="x"/>', "x"),
        ('<property name="a" value="x"><value>y</value></property>', "y"),
        ("<property><name>a</name><value>1</value><value>2</value></property>", "2"),
        ("<other><property><name>a</name><value>x</value></property></other>", "x"),
        (prop("a", "<!-- no -->1<![CDATA[<2>]]>&amp;3"), "1<2>&3"),
        (prop("a", "x") + prop("a", ""), "x"),
        (prop("a", "x") + prop("a", "y"), "y"),
        (prop("a", ""), None),
        ("<property><name>a</name></property>", None),
        ("<property><value>x</value></property>", None),
    ],
)
def test_a_property_is_read_in_every_form_that_hadoop_takes(
    tmp_path: Path, body: str, expected: str | None
) -> None:
    assert read(tmp_path, body).get("a") == expected


FINAL = "<final>true</final>"


@pytest.mark.parametrize(
    ("core", "hdfs", "expected"),
    [
        (prop("a", "1", FINAL) + prop("a", "2"), "", "1"),
        (prop("a", "1", FINAL) + prop("a", "2", FINAL), prop("a", "3"), "1"),
        (prop("a", "1"), prop("a", "2", FINAL), "2"),
        (prop("a", "1", "<final>false</final>"), prop("a", "2"), "2"),
        (prop("a", "1", "<final> true</final>"), prop("a", "2"), "2"),
        ('<property name="a" value="1" final="true"/>', prop("a", "2"), "1"),
        # Final without a value: nothing sets it any more.
        (f"<property><name>a</name>{FINAL}</property>" + prop("a", "2"), "", None),
    ],
)
def test_the_first_final_value_wins_else_the_last(
    tmp_path: Path, core: str, hdfs: str, expected: str | None
) -> None:
    assert read(tmp_path, core, hdfs).get("a") == expected


def test_whether_acls_are_inherited_is_set_in_hdfs_site_alone(tmp_path: Path) -> None:
    inherit = prop("dfs.namenode.posix.acl.inheritance.enabled", "false")
    assert creation_rules(read(tmp_path, inherit)).acl_overrides_umask
    assert not creation_rules(read(tmp_path, "", inherit)).acl_overrides_umask


def test_the_old_name_of_the_checksum_s_bytes_counts(tmp_path: Path) -> None:
    old = prop("io.bytes.per.checksum", "1000") + prop("dfs.blocksize", "2000000")
    assert creation_rules(read(tmp_path, "", old)).block_bytes == 2_000_000  # no multiple of 512


def test_what_hadoop_s_own_defaults_set_cannot_be_set_in_core_site(tmp_path: Path) -> None:
    core = prop("dfs.replication", "2") + prop("dfs.blocksize", "1m", FINAL)
    found = read(tmp_path, core)
    assert found.get_integer("dfs.replication") == 3
    assert found.get_size("dfs.blocksize") == 1024**2
    assert read(tmp_path, core, prop("dfs.replication", "2")).get_integer("dfs.replication") == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fs.default.name", "fs.defaultFS"),
        ("dfs.umaskmode", "fs.permissions.umask-mode"),
        ("dfs.federation.nameservices", "dfs.nameservices"),
    ],
)
def test_old_names_set_the_new_ones_in_the_order_of_the_file(
    tmp_path: Path, old: str, new: str
) -> None:
    assert read(tmp_path, prop(old, "027")).get(new) == "027"
    assert read(tmp_path, prop(old, "1") + prop(new, "2")).get(new) == "2"
    assert read(tmp_path, prop(new, "1") + prop(old, "2")).get(new) == "2"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_other_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    declared = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{declared}"?><configuration>{prop("a", "é")}'
    (tmp_path / "core-site.xml").write_bytes((text + "</configuration>").encode(encoding))
    assert HadoopConfiguration.load(tmp_path).get("a") == "é"


# ---------------------------------------------------------------- includes


@pytest.mark.parametrize("tag", ["xi:include", "include"])
def test_an_included_file_is_read_in_its_place(tmp_path: Path, tag: str) -> None:
    write(tmp_path / "more.xml", prop("a", "2") + prop("b", "2"))
    found = read(tmp_path, prop("a", "1") + f'<{tag} href="more.xml"/>' + prop("b", "3"))
    assert (found.get("a"), found.get("b")) == ("2", "3")


def test_includes_are_nested_and_named_in_every_way(tmp_path: Path) -> None:
    write(tmp_path / "sub" / "one.xml", prop("a", "1") + '<include href="two.xml"/>')
    write(tmp_path / "sub" / "two.xml", prop("b", "1") + '<include href="three.xml"/>')
    write(tmp_path / "three.xml", prop("c", "1"))
    for href in ("sub/one.xml", f"{tmp_path}/sub/one.xml", f"file://{tmp_path}/sub/one.xml"):
        found = read(tmp_path, f'<xi:include href="{href}"/>')
        assert [found.get(name) for name in "abc"] == ["1", "1", "1"], href


@pytest.mark.parametrize(
    ("fallback", "is_there", "expected"),
    [
        ("<fallback/>", False, None),
        (f"<xi:fallback>{prop('a', 'fallback')}</xi:fallback>", False, "fallback"),
        (f"<xi:fallback>{prop('a', 'fallback')}</xi:fallback>", True, "included"),
    ],
)
def test_a_fallback_counts_where_the_file_is_missing(
    tmp_path: Path, fallback: str, expected: str | None, *, is_there: bool
) -> None:
    if is_there:
        write(tmp_path / "more.xml", prop("a", "included"))
    found = read(tmp_path, f'<xi:include href="more.xml">{fallback}</xi:include>')
    assert found.get("a") == expected


def nested(tmp_path: Path) -> str:
    for number in range(30):
        write(tmp_path / f"{number}.xml", f'<include href="{number + 1}.xml"><fallback/></include>')
    return '<include href="0.xml"/>'


def many(tmp_path: Path) -> str:
    write(tmp_path / "more.xml", "")
    return '<include href="more.xml"/>' * 200


def loop(tmp_path: Path) -> str:
    write(tmp_path / "more.xml", '<include href="core-site.xml"/>')
    return '<include href="more.xml"/>'


REFUSED: dict[str, tuple[Callable[[Path], str], str]] = {
    "missing": (lambda _: '\n<include href="more.xml"/>', "line 4: .* is not there"),
    "another machine": (lambda _: '<include href="http://a/b.xml"/>', "another machine"),
    "another machine's file": (lambda _: '<include href="file://a/b.xml"/>', "another machine"),
    "loop": (loop, "more.xml, line 3: .*read already"),
    "too deep": (nested, "nested more than 20"),
    "too many": (many, "more than 100 files"),
    "not XML": (lambda _: "<a></b>", "core-site.xml, line 3: .*mismatched tag"),
    "unknown entity": (lambda _: "&secret;", "undefined entity"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_file_and_line(tmp_path: Path, name: str) -> None:
    body, words = REFUSED[name]
    with pytest.raises(ConfigurationError, match=words) as caught:
        read(tmp_path, body(tmp_path))
    assert caught.value.code == "E_CFG_CORE_SITE"


def test_a_broken_file_quotes_no_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, prop("fs.s3a.secret.key", "TOPSECRET</nope>"))
    assert "TOPSECRET" not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"


# ---------------------------------------------------------------- variables


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${b}", "1"),
        ("${b}${c}-${b}", "12-1"),
        ("${d}", "1"),
        ("${${which}}", "1"),
        ("${env.HERE}", "here"),
        ("${env.NOT_HERE:-x}", "x"),
        ("${env.NOT_HERE-x}", "x"),
        ("${env.EMPTY:-x}", "x"),
        ("[${env.EMPTY-x}]", "[]"),
        ("${env.NOT_HERE:-a-b:-c}", "a-b:-c"),
        ("${fs.default.name}", "hdfs://old"),
        ("${dfs.replication}", "3"),
        ("${file.separator}${java.io.tmpdir}", "//tmp"),
        ("$b {b} ${} $", "$b {b} ${} $"),
    ],
)
def test_variables_are_expanded(tmp_path: Path, value: str, expected: str) -> None:
    others = {"b": "1", "c": "2", "d": "${b}", "which": "b", "fs.defaultFS": "hdfs://old"}
    core = "".join(prop(*each) for each in others.items()) + prop("a", value)
    assert read(tmp_path, core, HERE="here", EMPTY="").get("a") == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x${nope}", r"a holds a variable that is not set: \$\{nope\}"),
        ("${env.NOPE}", r"not set: \$\{env.NOPE\}"),
        ("x${a}", "refers to itself"),
        ("${loop}", "more than 20"),
    ],
)
def test_a_variable_that_is_not_set_is_named_where_the_property_is_used(
    tmp_path: Path, value: str, words: str
) -> None:
    found = read(tmp_path, prop("a", value) + prop("loop", "${pool}") + prop("pool", "${loop}"))
    assert found.is_set("a")
    with pytest.raises(ConfigurationError, match=words) as caught:
        found.get("a")
    assert caught.value.code == "E_CFG_HADOOP_VARIABLE"
    assert "core-site.xml, line 3" in caught.value.message


def test_it_crosses_to_another_process_resolved_and_without_secrets(tmp_path: Path) -> None:
    core = prop("a", "${env.A}") + prop("fs.s3a.bucket.b.secret.key", "s3cret")
    found = read(tmp_path, core + prop("ssl.server.keystore.password", "pass"), A="here")
    sent = pickle.dumps(found.without_secrets())
    assert b"s3cret" not in sent
    assert b"pass\x94" not in sent
    assert pickle.loads(sent).get("a") == "here"  # noqa: S301 - our own bytes


@pytest.mark.parametrize("word", ["tokens", "secrets", "my-password"])
def test_a_nameservice_may_be_called_after_a_secret(tmp_path: Path, word: str) -> None:
    hdfs = (
        prop(f"dfs.ha.namenodes.{word}", "token")
        + prop(f"dfs.namenode.rpc-address.{word}.token", "nn:9000")
        + prop(f"dfs.client.failover.random.order.{word}", "true")
    )
    found = read(tmp_path, "", hdfs)
    assert found.secret_names() == ()
    sent = found.without_secrets()
    assert namenodes(sent, f"hdfs://{word}") == [("nn", 9000)]
    assert client_properties(sent, f"hdfs://{word}")[f"dfs.client.failover.random.order.{word}"]


# ---------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("1k", 1024), ("128M", 128 * 1024**2), ("2g", 2 * 1024**3), ("-1", -1)],
)
def test_sizes(tmp_path: Path, text: str, expected: int) -> None:
    assert read(tmp_path, prop("a", text)).get_size("a") == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("True", True), ("FALSE", False), ("yes", None), ("", None)]
)
def test_booleans_that_are_none_are_the_default(
    tmp_path: Path,
    text: str,
    expected: bool | None,  # noqa: FBT001 - a table
) -> None:
    found = read(tmp_path, prop("a", text))
    for default in (True, False):
        assert found.get_boolean("a", default=default) is (
            default if expected is None else expected
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0o022),
        ("027", 0o027),
        ("0077", 0o077),
        ("u=rwx,g=rx,o=", 0o027),
        ("u=rwx, g=rwx, o=rx", 0o002),
        ("a=rwx,o-w", 0o007),  # the last word about others is "not w"
        ("=rwx", 0),
    ],
)
def test_umasks(tmp_path: Path, text: str, expected: int) -> None:
    assert read(tmp_path, prop("fs.permissions.umask-mode", text)).get_umask() == expected


@pytest.mark.parametrize(
    "get",
    [
        lambda found: found.get_size("a"),
        lambda found: found.get_integer("a"),
        lambda found: found.get_umask("a"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(
    tmp_path: Path, get: Callable[[HadoopConfiguration], object]
) -> None:
    with pytest.raises(ConfigurationError, match="line 3: a is not") as caught:
        get(read(tmp_path, prop("a", "nonsense")))
    assert caught.value.code == "E_CFG_HADOOP_VALUE"
    assert "nonsense" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("9" * 5000, "-" + "9" * 5000, "9223372036854775808", "9" * 20, "0x" + "f" * 5000),
        *("999999999e", "8e", "9" * 19 + "k", "1\u212a", "1\u017f", "\u0661", "1_000"),
    ],
)
def test_a_number_that_java_does_not_hold_is_refused_by_name(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, prop("a", text))
    for get in (found.get_size, found.get_integer):
        with pytest.raises(ConfigurationError, match="line 3: a is not") as caught:
            get("a")
        assert caught.value.code == "E_CFG_HADOOP_VALUE"
        assert len(caught.value.message) < 500


def test_the_largest_numbers_and_leading_zeros_are_read(tmp_path: Path) -> None:
    many = "0" * 5000
    found = read(
        tmp_path,
        prop("size", f"{many}9223372036854775807") + prop("seven", "7E")
        + prop("integer", f"-{many}2147483647") + prop("hexadecimal", f"0x{many}7fffffff"),
    )  # fmt: skip
    assert found.get_size("size") == 2**63 - 1
    assert found.get_size("seven") == 7 << 60
    assert found.get_integer("integer") == 1 - 2**31
    assert found.get_integer("hexadecimal") == 2**31 - 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dfs.blocksize", "9" * 5000),
        ("dfs.blocksize", "999999999e"),
        ("dfs.blocksize", "256t"),
        ("dfs.replication", "9" * 5000),
        ("dfs.replication", "4294967296"),
        ("dfs.replication", "32768"),
        ("dfs.bytes-per-checksum", "2147483648"),
    ],
)
def test_numbers_that_no_file_can_be_created_with_are_refused(
    tmp_path: Path, name: str, text: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        creation_rules(read(tmp_path, "", prop(name, text)))
    assert caught.value.code == "E_CFG_HADOOP_VALUE"
    assert name in caught.value.message


# ---------------------------------------------------------------- file systems


PAIR = (
    prop("dfs.nameservices", " bed , other")
    + prop("dfs.ha.namenodes.bed", " nn1 ,\n nn2,nn3")
    + prop("dfs.namenode.rpc-address.bed.nn1", "${one}")
    + prop("dfs.namenode.rpc-address.bed.nn2", " [::1]:9000\n")
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("hdfs://nn", "hdfs://nn:8020"),
        ("hdfs://nn:9000/", "hdfs://nn:9000"),
        ("hdfs://nn/some/dir", "hdfs://nn:8020"),
        ("nn:9000", "hdfs://nn:9000"),
        ("nn", "hdfs://nn:8020"),
        ("hdfs://bed/", "hdfs://bed"),
        ("file:///", "file:///"),
        ("local", "file:///"),
        ("viewfs://bed", "viewfs://bed"),
        ("", None),
    ],
)
def test_the_default_file_system_is_named_in_full(
    tmp_path: Path, written: str, expected: str | None
) -> None:
    found = read(tmp_path, prop("fs.defaultFS", written), PAIR)
    assert default_filesystem(found) == expected


def test_a_virtual_address_of_several_namenodes_is_a_host(tmp_path: Path) -> None:
    provider = "org.apache.hadoop.hdfs.server.namenode.ha.IPFailoverProxyProvider"
    hdfs = prop("dfs.client.failover.proxy.provider.vip.example.com", provider)
    for written in ("hdfs://vip.example.com", "hdfs://vip.example.com:8020"):
        found = read(tmp_path, prop("fs.defaultFS", written), hdfs)
        assert file_systems(found) == FileSystems(default="hdfs://vip.example.com:8020")
        assert namenodes(found, written) == [("vip.example.com", 8020)]


def test_a_class_that_puts_hdfs_elsewhere_is_refused_with_file_and_line(tmp_path: Path) -> None:
    name = "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme"
    found = read(tmp_path, prop("fs.defaultFS", "hdfs://nn") + prop("fs.hdfs.impl", name))
    with pytest.raises(ConfigurationError, match=r"core-site.xml, line 4: fs.hdfs.impl") as caught:
        file_systems(found)
    assert caught.value.code == "E_CFG_HADOOP_VALUE"
    usual = prop("fs.hdfs.impl", "org.apache.hadoop.hdfs.DistributedFileSystem")
    assert file_systems(read(tmp_path, usual)) == FileSystems()


def test_a_nameservice_as_default_takes_no_port(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="bed is a nameservice"):
        default_filesystem(read(tmp_path, prop("fs.defaultFS", "hdfs://bed:8020"), PAIR))


@pytest.mark.parametrize(
    "text",
    [
        *("hdfs://nn:99999", "hdfs://[::1", "hdfs://user:SECRET@nn:8020", "hdfs:///", "hdfs://nn:"),
        *("hdfs://nn:x", "hdfs://n n", "user:SECRET@nn", "hdfs://", "hdfs://:8020"),
        *("hdfs://nn..example.com", f"hdfs://{'n' * 64}.example.com:8020"),
    ],
)
def test_a_default_that_is_no_address_is_refused_with_file_and_line(
    tmp_path: Path, text: str
) -> None:
    words = r"core-site.xml, line 3: fs.defaultFS is no address of a NameNode"
    with pytest.raises(ConfigurationError, match=words) as caught:
        default_filesystem(read(tmp_path, prop("fs.defaultFS", text)))
    assert caught.value.code == "E_CFG_HADOOP_VALUE"
    assert "SECRET" not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        *("b:c", "b:99999", "[::1", "user:SECRET@b:8020", "hdfs://"),
        *("nn..example.com:8020", f"{'n' * 64}.example.com", ".example.com"),
    ],
)
def test_an_address_of_a_nameservice_that_is_none_is_refused_with_file_and_line(
    tmp_path: Path, text: str
) -> None:
    name = "dfs.namenode.rpc-address.bed.a"
    found = read(tmp_path, "", prop("dfs.ha.namenodes.bed", "a") + prop(name, text))
    words = f"hdfs-site.xml, line 4: {name} is no address of a NameNode"
    with pytest.raises(ConfigurationError, match=words) as caught:
        namenodes(found, "hdfs://bed")
    assert "SECRET" not in caught.value.message


def test_namenodes_have_their_ports_and_those_without_an_address_are_left_out(
    tmp_path: Path,
) -> None:
    found = read(tmp_path, prop("one", "a.example.com"), PAIR)
    assert namenodes(found, "hdfs://bed") == [("a.example.com", 8020), ("::1", 9000)]
    given = client_properties(found, "hdfs://bed")
    assert given["dfs.ha.namenodes.bed"] == "nn1,nn2"
    assert given["dfs.namenode.rpc-address.bed.nn1"] == "a.example.com:8020"
    assert given["dfs.namenode.rpc-address.bed.nn2"] == "[::1]:9000"


@pytest.mark.parametrize(
    ("hdfs", "words"),
    [
        (PAIR, "rpc-address.bed.nn1 holds a variable that is not set"),
        (prop("dfs.ha.namenodes.bed", "nn1"), "dfs.namenode.rpc-address.bed.nn1 is not set"),
        (prop("dfs.client.failover.proxy.provider.bed", "x"), "dfs.ha.namenodes.bed is not set"),
        (
            prop("dfs.ha.namenodes.bed", "a") + prop("dfs.namenode.rpc-address.bed.a", "b:c"),
            "dfs.namenode.rpc-address.bed.a is no address",
        ),
    ],
)
def test_a_nameservice_that_cannot_be_used_is_known_with_its_reason(
    tmp_path: Path, hdfs: str, words: str
) -> None:
    ((name, reason),) = file_systems(read(tmp_path, "", hdfs)).faults
    assert name == "bed"
    assert words in reason


@pytest.mark.parametrize(
    ("core", "hdfs", "expected"),
    [
        ("", "", False),
        (prop("hadoop.security.authentication", " SIMPLE "), "", False),
        (prop("hadoop.security.authentication", "${how}") + prop("how", "kerberos"), "", True),
        ("", prop("hadoop.security.authentication", "kerberos"), True),
    ],
)
def test_kerberos_is_read_by_the_same_rules(
    tmp_path: Path, core: str, hdfs: str, *, expected: bool
) -> None:
    assert demands_kerberos(read(tmp_path, core, hdfs)) is expected


def test_switches_reach_the_client_in_its_own_spelling(tmp_path: Path) -> None:
    hdfs = prop("dfs.client.use.datanode.hostname", " TRUE ")
    found = read(tmp_path, prop("hadoop.security.authentication", "Simple"), hdfs)
    given = client_properties(found, "hdfs://nn:8020")
    assert given["dfs.client.use.datanode.hostname"] == "true"
    assert given["hadoop.security.authentication"] == "simple"


# ---------------------------------------------------------------- the directory


def test_the_directory_is_that_of_hadoop_s_own_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    monkeypatch.setattr(hadoop_directory, "SYSTEM_DIRECTORY", tmp_path / "system")
    assert hadoop_conf_dir() is None
    write(tmp_path / "system" / "core-site.xml", "")
    assert hadoop_conf_dir() == tmp_path / "system"

    (tmp_path / "home" / "etc" / "hadoop").mkdir(parents=True)
    monkeypatch.setenv("HADOOP_HOME", str(tmp_path / "home"))
    assert hadoop_conf_dir() == tmp_path / "home" / "etc" / "hadoop"

    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    assert hadoop_conf_dir() == tmp_path


def test_values_do_not_grow_without_end(tmp_path: Path) -> None:
    found = read(tmp_path, prop("b", "x" * (1 << 19)) + prop("a", "${b}${b}${b}"))
    with pytest.raises(ConfigurationError, match="longer than 1048576 characters") as caught:
        found.get("a")
    assert len(str(caught.value)) < 1000


# ---------------------------------------------------------------- mount tables of viewfs


def link(path: str, target: str, table: str = "bed") -> str:
    return prop(f"fs.viewfs.mounttable.{table}.{path}", target)


def resolved(tmp_path: Path, core: str, text: str) -> str:
    systems = file_systems(read(tmp_path, prop("fs.defaultFS", "viewfs://bed") + core, PAIR))
    try:
        return parse_destination(text, default_fs=systems).uri
    except PermanentError as error:
        return f"{error.code} {error.message}"


@pytest.mark.parametrize(
    ("core", "text", "expected"),
    [
        (link("link./data", "hdfs://other/d"), "/data/x", "hdfs://other:8020/d/x"),
        (link("link./data", "hdfs://nn:9000/d/"), "/data/x", "hdfs://nn:9000/d/x"),
        (link("link./data/", "hdfs://nn"), "/data/x", "hdfs://nn:8020/x"),
        (link("link./a.b/c", "hdfs://nn/d"), "/a.b/c/x", "hdfs://nn:8020/d/x"),
        (link("link./mnt", "file:///srv/mnt"), "/mnt/x", "file:///srv/mnt/x"),
        (link("link./mnt", "file:/srv"), "/mnt/x", "file:///srv/x"),
        (link("linkMergeSlash", "hdfs://nn/r"), "/any/x", "hdfs://nn:8020/r/any/x"),
        (link("link./x", "hdfs://nn/d", "a.b"), "viewfs://a.b/x/y", "hdfs://nn:8020/d/y"),
        (link("link./x", "hdfs://nn/d", "default"), "viewfs:///x/y", "hdfs://nn:8020/d/y"),
        (
            prop("fs.viewfs.mounttable.default.name.key", "bed") + link("link./x", "hdfs://nn/d"),
            "viewfs:///x/y",
            "hdfs://nn:8020/d/y",
        ),
        (
            prop("host", "nn:9000") + link("link./x", "hdfs://${host}/d"),
            "/x/y",
            "hdfs://nn:9000/d/y",
        ),
    ],
)
def test_a_link_of_viewfs_leads_to_its_target(
    tmp_path: Path, core: str, text: str, expected: str
) -> None:
    more = link("homedir", "/user") + link("link./zz", "hdfs://nn/zz")
    if "linkMergeSlash" in core:
        more = link("homedir", "/user")
    assert resolved(tmp_path, core + more, text) == expected


@pytest.mark.parametrize(
    ("core", "text", "code", "words"),
    [
        (link("linkFallback", "hdfs://nn/rest"), "/x/y", "E_DST_NO_MOUNT", "a fallback is not"),
        (link("linkNfly./x", "hdfs://a/x,hdfs://b/x"), "/x/y", "E_DST_AUTHORITY", "several"),
        (link("linkNfly.minReplication=3./x", "hdfs://a/x"), "/x", "E_DST_AUTHORITY", "several"),
        (link("linkMerge./x", "hdfs://a/x,hdfs://b/x"), "/x/y", "E_DST_AUTHORITY", "several"),
        (link("linkRegex.^/(.*)", "hdfs://a/$1"), "/ok/y", "E_DST_AUTHORITY", "any path"),
        (link("link./", "hdfs://a/x"), "/ok/y", "E_DST_AUTHORITY", "no link that Hadoop takes"),
        (link("link.x", "hdfs://a/x"), "/ok/y", "E_DST_AUTHORITY", "no link that Hadoop takes"),
        (link("link./a//b", "hdfs://a/x"), "/ok/y", "E_DST_AUTHORITY", "no link that Hadoop"),
        (link("links./x", "hdfs://a/x"), "/ok/y", "E_DST_AUTHORITY", "no link that Hadoop takes"),
        (link("linkMergeSlash", "hdfs://a/x"), "/ok/y", "E_DST_AUTHORITY", "beside other links"),
        (link("link./x", "s3a://bucket/x"), "/x/y", "E_DST_AUTHORITY", "no hdfs:// or file:///"),
        (link("link./x", "viewfs://b/x"), "/x/y", "E_DST_AUTHORITY", "no hdfs:// or file:///"),
        (link("link./x", "/x"), "/x/y", "E_DST_AUTHORITY", "no hdfs:// or file:/// directory"),
        (link("link./x", "file://host/x"), "/x/y", "E_DST_AUTHORITY", "no hdfs:// or file:///"),
        (link("link./x", "hdfs://u:secret@h/x"), "/x/y", "E_DST_AUTHORITY", "no usable HDFS"),
        (link("link./x", "hdfs://nn/a%20b"), "/x/y", "E_DST_AUTHORITY", "Java would decode"),
        (link("link./x", "hdfs://nn/a/../b"), "/x/y", "E_DST_AUTHORITY", "one of dots"),
        (link("link./x", "hdfs://bed:8020/x"), "/x/y", "E_DST_AUTHORITY", "bed is a nameservice"),
        (link("link./x", "hdfs://${no.such}/x"), "/x/y", "E_DST_AUTHORITY", "${no.such}"),
    ],
)
def test_a_link_that_cannot_be_used_is_refused_where_a_path_needs_it(
    tmp_path: Path, core: str, text: str, code: str, words: str
) -> None:
    found = resolved(tmp_path, core + link("link./ok", "hdfs://nn/ok"), text)
    assert found.startswith(f"{code} ")
    assert words in found
    assert "secret" not in found
    if code == "E_DST_AUTHORITY":
        assert "core-site.xml, line " in found or "beside other links" in found
    if not text.startswith("/ok"):
        others = resolved(tmp_path, core + link("link./ok", "hdfs://nn/ok"), "/ok/y")
        assert others == "hdfs://nn:8020/ok/y"


def test_a_link_whose_variable_is_not_set_is_named_with_its_line(tmp_path: Path) -> None:
    found = resolved(tmp_path, link("link./x", "hdfs://${no.such}/x"), "/x/y")
    assert "core-site.xml, line 4: fs.viewfs.mounttable.bed.link./x holds a variable" in found


def test_one_hdfs_behind_links_that_spell_it_differently_has_one_name(tmp_path: Path) -> None:
    core = link("link./a", "hdfs://NN/a") + link("link./b", "hdfs://nn:8020/b")
    assert resolved(tmp_path, core, "/a/x") == "hdfs://NN:8020/a/x"
    assert resolved(tmp_path, core, "/b/x") == "hdfs://NN:8020/b/x"
    assert resolved(tmp_path, core, "hdfs://NN/b/x") == "hdfs://NN:8020/b/x"
    other = resolved(tmp_path, core, "hdfs://nn/b/x")
    assert "E_DST_AUTHORITY hdfs://nn:8020 is hdfs://NN:8020 of a mount table under" in other
    found = read(tmp_path, prop("fs.defaultFS", "hdfs://nn") + core)
    place = parse_destination("viewfs://bed/a/x", default_fs=file_systems(found))
    assert place.uri == "hdfs://nn:8020/a/x"
