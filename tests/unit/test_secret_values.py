"""Secrets known by their value are hidden in whatever a program or a receiver repeats."""

from __future__ import annotations

import pytest

from backhaul.core.replies.secret_values import SecretValues, password_files

PASSWORD = "canaryc0ffeePASSWORD"


@pytest.mark.parametrize(
    "arguments",
    [
        ("-u", "jdbc:hive2://h:10000/", "-n", "etl", "-p", PASSWORD),
        ("-u", f"jdbc:hive2://h:10000/db;ssl=true;trustStorePassword={PASSWORD};x=1"),
        ("-u", f"jdbc:hive2://etl:{PASSWORD}@h:10000/"),
        ("--password", PASSWORD),
        (f"--password={PASSWORD}",),
        ("--api-key", PASSWORD),
        ("--hiveconf", f"fs.s3a.secret.key={PASSWORD}"),
        ("-H", f"Authorization: Bearer {PASSWORD}"),
        ("-H", f"X-Token: {PASSWORD}"),
        ("-u", f"etl:{PASSWORD}", "https://hooks.example.com/"),
        (f"https://hooks.example.com/services/{PASSWORD}/x",),
        (f"https://hooks.example.com/x?k={PASSWORD}",),
    ],
)
def test_the_secrets_of_arguments_are_found(arguments: tuple[str, ...]) -> None:
    found = SecretValues.of_program(("beeline", *arguments))
    text = f"FAILED: could not log in as etl with {PASSWORD} at h:10000, {PASSWORD}."
    shown = found.hidden_in(text)
    assert PASSWORD not in shown
    assert shown.startswith("FAILED: could not log in as etl with ***")


@pytest.mark.parametrize(
    "arguments",
    [
        ("-n", "etl", "-u", "jdbc:hive2://hs2.example.com:10000/;principal=hive/_HOST@EXAMPLE.COM"),
        ("-p", "-i", "impala.example.com:21050"),
        ("--ldap_password_cmd", "cat /etc/backhaul/impala"),
        ("-w", "/etc/backhaul/hive.password"),
        ("--hiveconf", "hadoop.security.credential.provider.path=jceks://x"),
        ("https://hooks.example.com/api/v1/lineage",),
    ],
)
def test_what_is_no_secret_stays(arguments: tuple[str, ...]) -> None:
    text = " ".join(("Error:", *arguments, "etl", "impala", "hooks.example.com"))
    assert SecretValues.of_program(("beeline", *arguments)).hidden_in(text) == text


def test_a_variable_with_the_name_of_a_secret_is_one() -> None:
    variables = {"HADOOP_CREDSTORE_PASSWORD": PASSWORD, "HADOOP_HOME": "/opt/hadoop"}
    found = SecretValues.of_program(("beeline",), variables)
    assert found.hidden_in(f"{PASSWORD} in /opt/hadoop") == "*** in /opt/hadoop"


def test_a_short_one_is_hidden_as_a_word_alone() -> None:
    found = SecretValues.of_program(("beeline", "-p", "hive"))
    assert found.hidden_in("hive2: no hive for (hive)") == "hive2: no *** for (***)"


@pytest.mark.parametrize("cut", range(4, len(PASSWORD)))
def test_it_is_hidden_where_the_text_was_cut_within_it(cut: int) -> None:
    found = SecretValues.of_program(("beeline", "-p", PASSWORD))
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
