"""`doctor --bundle` and `--policy`: no secret leaves, nothing is written over."""

from __future__ import annotations

import base64
import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backhaul.app.doctor import bundle, secrecy
from backhaul.cli import cli
from backhaul.core.errors import BackhaulError

SECRET_KEY = "canaryc0ffee/SECRETKEY+wJalrXUtnFEMIK7MD"
TOKEN = "canaryc0ffeeSESSIONTOKEN" * 3
SIGNING = "canaryc0ffeeSIGNINGKEY" * 2
HADOOP = "canaryc0ffeeHADOOPKEY"
ARGUMENT = "canaryc0ffeeWEBHOOK"
IN_FILE = "canaryc0ffeeOFTHECREDENTIALSFILE"
IN_PATH = "canaryc0ffeePATH"
OF_HOOK = "canaryc0ffeeOFTHEHOOK" * 2
CANARIES = (SECRET_KEY, TOKEN, SIGNING, HADOOP, ARGUMENT, IN_FILE, IN_PATH, OF_HOOK)
KEY_ID = "AKIACANARYC0FFEE0000"
CONFIGURATION = """
ledger = "DIR/ledger.db"
log = { file = "DIR/backhaul.log" }
# secret_access_key = canaryc0ffee-in-a-comment
[[notify]]
name = "pager"
command = ["/usr/local/bin/page", "https://hooks.example.com/services/canaryc0ffeeWEBHOOK"]
[lineage]
url = "http://127.0.0.1:5000/canaryc0ffeePATH?key=canaryc0ffeePATH"
[[reply]]
name = "hook"
webhook = "https://hooks.example.com/services/canaryc0ffeePATH?key=canaryc0ffeePATH"
secret_file = "DIR/hook.secret"
[[reply]]
name = "queue"
sqs = "https://sqs.eu-west-1.amazonaws.com/123456789012/arrived"
[[reply]]
name = "topic"
sns = "arn:aws:sns:us-west-2:123456789012:arrived"
[[reply]]
name = "idle"
sns = "arn:aws:sns:us-west-2:123456789012:idle"
[[route]]
name = "signed"
replies = ["hook", "queue", "topic"]
reply_to = [
    "https://sqs.eu-west-1.amazonaws.com/123456789012/to-*",
    "arn:aws:sns:us-west-2:123456789012:to-*",
]
source = ["s3://acme-raw/signed/"]
destination = ["file://DIR/landing/"]
signature = { key_file = "DIR/signing.key" }
"""


def forms(secret: str) -> list[bytes]:
    raw = secret.encode()
    return [raw, base64.b64encode(raw).rstrip(b"="), raw.hex().encode()]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with secrets wherever one may be."""
    for name in os.environ:
        if name.startswith(("BACKHAUL_", "AWS_", "HADOOP")):
            monkeypatch.delenv(name)
    (tmp_path / "backhaul.toml").write_text(CONFIGURATION.replace("DIR", str(tmp_path)))
    (tmp_path / "backhaul.toml").chmod(0o600)
    (tmp_path / "signing.key").write_text(f"{SIGNING}\n")
    (tmp_path / "signing.key").chmod(0o600)
    (tmp_path / "hook.secret").write_text(f"{OF_HOOK}\n")
    (tmp_path / "hook.secret").chmod(0o600)
    (tmp_path / "backhaul.log").write_text(
        f"a line with {SIGNING}\nanother with {OF_HOOK}\n"
        f"secret={TOKEN}\nAuthorization: Bearer {HADOOP}\n"
        f"https://user:{IN_FILE}@example.com/\na plain line\n"
    )
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "core-site.xml").write_text(
        "<configuration><property><name>fs.s3a.secret.key</name>"
        f"<value>{HADOOP}</value></property></configuration>"
    )
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {IN_FILE}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path / "conf"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    return tmp_path


def doctor(home: Path, *arguments: str) -> Result:
    given = ["doctor", "--offline", "--config", str(home / "backhaul.toml"), *arguments]
    return CliRunner().invoke(cli, given)


def error_of(done: Result) -> BackhaulError:
    assert isinstance(done.exception, BackhaulError), done.output
    return done.exception


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = {}
        for entry in archive.getmembers():
            file = archive.extractfile(entry)
            assert file is not None
            found[entry.name.partition("/")[2]] = file.read()
        return found


def test_no_planted_secret_is_in_the_bundle_and_what_helps_is(home: Path) -> None:
    file = home / "bundle.tar.gz"
    done = doctor(home, "--bundle", str(file))
    assert done.exception is None, done.output
    content = members(file)
    whole = b"\n".join(content.values()) + done.output.encode()
    for canary in (*CANARIES, KEY_ID, "in-a-comment"):
        for form in forms(canary):
            assert form not in whole, canary
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"a plain line" in content["log.txt"]
    settings = json.loads(content["configuration.json"])["settings"]
    assert settings["route"][0]["source"] == ["s3://acme-raw/signed/"]
    assert settings["reply"][0]["webhook"] == "https://hooks.example.com/***"
    assert settings["lineage"]["url"] == "http://127.0.0.1:5000/***"
    assert settings["notify"][0]["command"] == ["/usr/local/bin/page", "***"]
    assert json.loads(content["environment.json"])["AWS_SECRET_ACCESS_KEY"] == "***"
    assert json.loads(content["doctor.json"])["findings"]
    for name, data in content.items():
        assert f"{len(data):>10,} B  {name}" in done.output, "the listing has it"


def test_json_names_what_is_in_the_bundle(home: Path) -> None:
    done = doctor(home, "--json", "--bundle", str(home / "b.tar.gz"))
    report: dict[str, Any] = json.loads(done.output)
    assert set(report["bundle"]["members"]) == set(members(home / "b.tar.gz"))


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_that_exists_is_never_written_over(home: Path, *, is_link: bool) -> None:
    file, other = home / "bundle.tar.gz", home / "precious"
    if is_link:
        file.symlink_to(other)
    else:
        file.write_text("precious")
    done = doctor(home, "--bundle", str(file))
    assert (error_of(done).code, error_of(done).exit_code) == ("E_BUNDLE_EXISTS", 64)
    assert not other.exists()
    assert is_link or file.read_text() == "precious"
    assert "config.load" not in done.output, "refused before anything is probed"


@pytest.mark.parametrize(
    "left",
    [
        base64.b64encode(SECRET_KEY.encode()).decode(),
        base64.b64encode(b"x" + SECRET_KEY.encode() + b"yz").decode(),
        base64.b64encode(b"xy" + SECRET_KEY.encode()).decode(),
        SECRET_KEY.encode().hex(),
        SECRET_KEY.encode().hex().upper(),
    ],
)
def test_what_looks_like_a_secret_still_is_refused_and_nothing_written(
    home: Path, left: str
) -> None:
    with (home / "backhaul.log").open("a") as log:
        log.write(f"dump {left}\n")
    done = doctor(home, "--bundle", str(home / "b.tar.gz"))
    assert (error_of(done).code, error_of(done).exit_code) == ("E_BUNDLE_SECRET", 77)
    assert "log.txt" in error_of(done).message
    assert left not in str(error_of(done))
    assert not (home / "b.tar.gz").exists()


@pytest.mark.parametrize(
    "shape",
    [
        b"id AKIAABCDEFGHIJKLMNOP",
        b"-----BEGIN RSA PRIVATE KEY-----",
        b"eyJhbGciOiJI.eyJzdWIiOiIx.abc",
        b"FwoGZXIvYXdzEJr//////////wEaDHNvbWU",
    ],
)
def test_shapes_of_secrets_that_are_not_known_are_refused(shape: bytes) -> None:
    assert secrecy.KnownSecrets(frozenset()).remains_in(b"x " + shape)


def test_what_is_no_secret_stays() -> None:
    secrets = secrecy.KnownSecrets(frozenset({"sesame-open"}))
    text = b"s3://acme-raw/AKIA/a.parquet etag 0123456789abcdef0123456789abcdef"
    assert secrets.remains_in(text) == ""
    assert secrets.hidden_in("say sesame-open twice: sesame-open") == "say *** twice: ***"


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        *[(name, True) for name in ("AWS_SECRET_ACCESS_KEY", "password", "api_key", "TOKEN")],
        *[(name, False) for name in ("key_file", "key_env", "keytab", "AWS_PROFILE", "source")],
    ],
)
def test_names_of_secrets(name: str, *, is_secret: bool) -> None:
    assert secrecy.is_secret_name(name) == is_secret


def test_a_configuration_that_cannot_be_read_makes_a_bundle_all_the_same(home: Path) -> None:
    (home / "backhaul.toml").write_text(f'secret = "{SIGNING}"\n]]')
    done = doctor(home, "--ledger", str(home / "ledger.db"), "--bundle", str(home / "b.tar.gz"))
    assert done.exception is None, done.output
    content = members(home / "b.tar.gz")
    assert b"no valid TOML" in content["configuration.json"]
    assert b"E_CFG_TOML" in content["doctor.json"]
    assert SIGNING.encode() not in b"".join(content.values())


def test_the_policy_is_that_of_the_configuration_and_can_be_piped(home: Path) -> None:
    done = doctor(home, "orders", "us-west-2", "--policy")
    policy = json.loads(done.stdout)
    assert policy["Version"] == "2012-10-17"
    assert "arn:aws:s3:::acme-raw/signed/*" in str(policy)
    assert "arn:aws:sqs:us-west-2:ACCOUNT-ID:orders" in str(policy)
    assert "correct the account" in done.stderr
    replies = {one["Sid"]: one for one in policy["Statement"] if one["Sid"].startswith("Reply")}
    assert {name: one["Resource"] for name, one in replies.items()} == {
        "ReplyQueue": "arn:aws:sqs:eu-west-1:123456789012:arrived",
        "ReplyTopic": "arn:aws:sns:us-west-2:123456789012:arrived",
        "ReplyToMessagesOfSigned": "arn:aws:sqs:eu-west-1:123456789012:to-*",
        "ReplyToMessagesOfSigned2": "arn:aws:sns:us-west-2:123456789012:to-*",
    }


def test_the_policy_of_a_faulty_configuration_is_refused(home: Path) -> None:
    (home / "backhaul.toml").write_text("]]")
    assert error_of(doctor(home, "--policy")).exit_code == 78


def test_a_file_that_appears_while_it_is_collected_is_not_written_over(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "bundle.tar.gz"

    def meanwhile(_context: object) -> secrecy.KnownSecrets:
        file.write_text("precious")
        return secrecy.KnownSecrets(frozenset())

    monkeypatch.setattr(bundle, "known_secrets", meanwhile)
    monkeypatch.setattr(bundle, "_texts", lambda *_: {})
    assert error_of(doctor(home, "--bundle", str(file))).code == "E_BUNDLE_EXISTS"
    assert file.read_text() == "precious"
