"""Secrets known by their value are hidden in whatever a program or a receiver repeats."""

from __future__ import annotations

import json
from html import escape
from urllib.parse import quote

import pytest

from backhaul.core.replies.secret_values import SecretValues, password_files

PASSWORD = "canaryc0ffeePASSWORD"


SPECIAL = 'a#b,c;d&e"f'


@pytest.mark.parametrize("password", [PASSWORD, SPECIAL, "Zk9#qR7wLL", "ab,cdefghijk"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("-u", "jdbc:hive2://h:10000/", "-n", "etl", "-p", "{}"),
        ("-u", "jdbc:hive2://h:10000/db;ssl=true;trustStorePassword={};x=1"),
        ("-u", "jdbc:hive2://h:10000/db;ssl=true;password={}"),
        ("-u", "jdbc:hive2://h:10000/db?password={}&x=1"),
        ("-u", "jdbc:hive2://etl:{}@h:10000/"),
        ("--password", "{}"),
        ("--password={}",),
        ("-password={}",),
        ("--api-key", "{}"),
        ("--api-token={}",),
        ("--hiveconf", "fs.s3a.secret.key={}"),
        ("-Dfs.s3a.secret.key={}",),
        ('password="{}"',),
        ("-H", "Authorization: Bearer {}"),
        ("-H", "Authorization: {}"),
        ("-HAuthorization: Bearer {}",),
        ("--header=Authorization: Bearer {}",),
        ("-H", "X-Token: {}"),
        ("-H", "X-Api-Key: {}"),
        ("-HX-Api-Key: {}",),
        ("-u", "etl:{}", "https://hooks.example.com/"),
        ("-uetl:{}", "https://hooks.example.com/"),
        ("--user=etl:{}",),
        ("--proxy-user", "a:{}"),
        ("--proxy-user=a:{}",),
        ("-Ua:{}",),
        ("--oauth2-bearer", "{}"),
        ("--oauth2-bearer={}",),
        ("-p{}",),
    ],
)
def test_the_secrets_of_arguments_are_found(arguments: tuple[str, ...], password: str) -> None:
    given = [one.format(password) for one in arguments]
    found = SecretValues.of_program(["beeline", *given], is_warehouse=True)
    text = f"FAILED: could not log in as etl with {password} at h:10000, {password}."
    assert found.hidden_in(text) == "FAILED: could not log in as etl with *** at h:10000, ***."


@pytest.mark.parametrize("password", [PASSWORD, "Zk9#qR7wLL", "ab,cdefghijk"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "exec curl -s -u bob:{} https://x.example.com/ > /dev/null"),
        ("-c", "curl --user bob:{};true"),
        ("-ec", "set -u; curl -H 'Authorization: Bearer {}' https://x.example.com/"),
        ("-c", "TOKEN='{}' exec post"),
        ("-c", "post --token '{}' && true"),
        ("-c", "cd /x && su etl -c 'post --password={}'"),
        ("host", "post --token '{}'"),
    ],
)
def test_the_secrets_of_a_script_are_found(arguments: tuple[str, ...], password: str) -> None:
    given = [one.format(password) for one in arguments]
    found = SecretValues.of_program(["sh", *given])
    text = f"could not log in as bob with {password}."
    assert found.hidden_in(text) == "could not log in as bob with ***."


def test_a_script_with_an_open_quote_is_read_word_by_word() -> None:
    found = SecretValues.of_program(("sh", "-c", f"curl -u bob:{PASSWORD} 'https://x"))
    assert found.hidden_in(f"no login with {PASSWORD}") == "no login with ***"


@pytest.mark.parametrize("password", [PASSWORD, SPECIAL + PASSWORD])
@pytest.mark.parametrize("url", ["https://hooks.example.com/services/{}/x", "https://x.org/x?k={}"])
def test_the_secrets_of_urls_are_found(url: str, password: str) -> None:
    found = SecretValues.of_program(("curl", url.format(quote(password, safe=""))))
    assert found.hidden_in(f"no {password}!") == "no ***!"


def test_one_that_begins_as_an_option_does_is_found() -> None:
    for option in ("--password", "-p"):
        found = SecretValues.of_program(("beeline", option, f"-{PASSWORD}"), is_warehouse=True)
        assert found.hidden_in(f"no -{PASSWORD}!") == "no ***!"
    nothing = SecretValues.of_program(("beeline", "--password", "--"))
    assert nothing.hidden_in("-- a remark") == "-- a remark"


@pytest.mark.parametrize(
    "repeated", [SPECIAL, json.dumps(SPECIAL)[1:-1], escape(SPECIAL), quote(SPECIAL, safe="")]
)
def test_the_forms_in_which_it_may_be_repeated_are_hidden(repeated: str) -> None:
    found = SecretValues.of_program(("post", "--token", SPECIAL))
    assert found.hidden_in(f"wrong: {repeated}!") == "wrong: ***!"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("-p", "critical"), "cannot open critical section"),
        (("-p", "8080"), "nothing listens at port 8080"),
        (("-p8080",), "nothing listens at port 8080"),
    ],
)
def test_a_short_option_is_a_password_for_a_warehouse_alone(
    arguments: tuple[str, ...], text: str
) -> None:
    assert SecretValues.of_program(("/opt/pager", *arguments)).hidden_in(text) == text
    of_warehouse = SecretValues.of_program(("beeline", *arguments), is_warehouse=True)
    assert of_warehouse.hidden_in(text) != text


@pytest.mark.parametrize(
    "arguments",
    [
        ("-n", "etl", "-u", "jdbc:hive2://hs2.example.com:10000/;principal=hive/_HOST@EXAMPLE.COM"),
        ("-password",),
        ("-p", "-i", "impala.example.com:21050"),
        ("--ldap_password_cmd", "cat /etc/backhaul/impala"),
        ("-w", "/etc/backhaul/hive.password"),
        ("--hiveconf", "hadoop.security.credential.provider.path=jceks://x"),
        ("https://hooks.example.com/api/v1/lineage",),
    ],
)
def test_what_is_no_secret_stays(arguments: tuple[str, ...]) -> None:
    text = " ".join(("Error:", *arguments, "etl", "impala", "hooks.example.com"))
    found = SecretValues.of_program(("beeline", *arguments), is_warehouse=True)
    assert found.hidden_in(text) == text


def test_a_variable_with_the_name_of_a_secret_is_one() -> None:
    variables = {"HADOOP_CREDSTORE_PASSWORD": PASSWORD, "HADOOP_HOME": "/opt/hadoop"}
    found = SecretValues.of_program(("beeline",), variables)
    assert found.hidden_in(f"{PASSWORD} in /opt/hadoop") == "*** in /opt/hadoop"


def test_a_short_one_is_hidden_as_a_word_alone() -> None:
    found = SecretValues.of_program(("beeline", "-p", "hive"), is_warehouse=True)
    assert found.hidden_in("hive2: no hive for (hive)") == "hive2: no *** for (***)"


@pytest.mark.parametrize("cut", range(4, len(PASSWORD)))
def test_it_is_hidden_where_the_text_was_cut_within_it(cut: int) -> None:
    found = SecretValues.of_program(("beeline", "-p", PASSWORD), is_warehouse=True)
    assert found.hidden_in(f"{PASSWORD[-cut:]} was wrong") == "*** was wrong"
    assert found.hidden_in(f"wrong: {PASSWORD[:cut]}") == "wrong: ***"


def test_a_url_s_form_of_it_is_hidden_too() -> None:
    found = SecretValues.of_program(("curl", "--token", "canary/c0ffee+X=="))
    assert found.hidden_in("at canary%2Fc0ffee%2BX%3D%3D") == "at ***"
    assert (
        SecretValues.of_target("/hook/T0000000/canary%2Fc0ffee").hidden_in(
            "Cannot POST /hook/T0000000/canary/c0ffee; canary%2Fc0ffee"
        )
        == "Cannot POST ***; ***"
    )


def test_the_files_that_have_a_password() -> None:
    command = ("beeline", "-n", "etl", "-w", "/a", "--password-file=/b", "--password-file", "/c")
    assert password_files(command) == ["/a", "/b", "/c"]
