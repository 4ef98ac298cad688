"""Planted secrets are searched for in everything that Backhaul writes, shows or hands on."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from backhaul.testing.servers import Hdfs, Moto
from testbed import Kdc
from tests.acceptance.conftest import Install
from tests.acceptance.installation import REGION, Ended, Installation

pytestmark = pytest.mark.integration

SECRET_KEY = "canaryc0ffee/SECRETKEY+wJalrXUtnFEMIK7MDENG"
SESSION_TOKEN = "canaryc0ffeeSESSIONTOKEN" * 4
PASSWORD = "canaryc0ffeePASSWORD"
# Of the agent's own environment, and of no use to a worker.
SIGNATURE = "canaryc0ffeeSIGNATUREKEY" * 2


def key_of(keytab: Path) -> bytes:
    """The last AES-256 key of a keytab: type 18, length 32, 32 bytes."""
    data = keytab.read_bytes()
    at = data.rindex(b"\x00\x12\x00\x20") + 4
    return data[at : at + 32]


class Canaries:
    """The secrets in every form in which they could leave."""

    def __init__(self, *secrets: str | bytes) -> None:
        self.forms: set[bytes] = set()
        for secret in secrets:
            raw = secret.encode() if isinstance(secret, str) else secret
            self.forms |= {raw, base64.b64encode(raw).rstrip(b"="), raw.hex().encode()}
            self.forms.add(repr(raw)[2:-1].encode())

    def assert_absent(self, where: str, content: bytes) -> None:
        for form in self.forms:
            assert form not in content, f"{form[:12]!r}… in {where}"

    def assert_not_in_files(self, paths: Iterable[Path], *but: Path) -> None:
        for path in paths:
            if path.is_file() and path not in but:
                self.assert_absent(str(path), path.read_bytes())

    def assert_not_in(self, ended: Ended, what: str) -> None:
        self.assert_absent(f"{what}: stdout", ended.out.encode())
        self.assert_absent(f"{what}: stderr", ended.err.encode())


def test_what_is_searched_for_would_be_found() -> None:
    canaries = Canaries(SECRET_KEY, b"\x00\x01raw")
    for leak in (SECRET_KEY.encode(), b"xx" + base64.b64encode(b"\x00\x01raw"), b"\\x00\\x01raw"):
        with pytest.raises(AssertionError):
            canaries.assert_absent("here", b"before " + leak + b" after")


@pytest.mark.hdfs
@pytest.mark.timeout(600)
def test_no_planted_secret_leaves(
    install: Install, moto_server: Moto, secure_hdfs: Hdfs, kdc: Kdc, tmp_path: Path
) -> None:
    """The whole job with Kerberos: published, dead, retried, shown; log on debug, in a file too."""
    it = install(moto_server, moto_server, secure_hdfs)
    it.is_warm = False  # what is on its command line is read
    keytab = kdc.keytab(tmp_path / "backhaul.keytab", "backhaul")
    landing = f"/landing/{it.name}"
    secure_hdfs.command("dfs", "-mkdir", "-p", landing)
    secure_hdfs.command("dfs", "-chmod", "1777", landing)
    log, metrics = tmp_path / "backhaul.log", tmp_path / "backhaul.prom"
    config = tmp_path / "backhaul.toml"
    config.write_text(
        f'[kerberos]\nprincipal = "backhaul"\nkeytab = "{keytab}"\n'
        f'[log]\nlevel = "debug"\nfile = "{log}"\n'
        f'[metrics]\ntextfile = "{metrics}"\n'
        f'[[route]]\nname = "r"\nsource = ["s3://{it.bucket}/p/"]\ndestination = ["{landing}/"]\n'
        f'[[route]]\nname = "s"\nsource = ["s3://{it.bucket}/signed/"]\n'
        f'destination = ["{landing}/"]\nsignature = {{ key_env = "SIGNING" }}\n'
    )
    signing = tmp_path / "signing.key"
    signing.write_text(SIGNATURE)
    signing.chmod(0o600)
    it.environment |= {
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
        "KRB5_CONFIG": str(kdc.krb5_conf),
        "SIGNING": SIGNATURE,
    }
    canaries = Canaries(
        *(SECRET_KEY, SESSION_TOKEN, PASSWORD, SIGNATURE), *(key_of(keytab), keytab.read_bytes())
    )

    it.put("p/a", b"content")
    it.put("p/b", b"")
    it.put("signed/c", b"c")
    for text in (
        f"{it.bucket}/p/, {landing}/out",
        f"{it.bucket}/unheard-of, {landing}/out",
        f"s3://user:{PASSWORD}@{it.bucket}/p/, {landing}/out",
        f'{{"v":1,"source":"s3://user:{PASSWORD}@{it.bucket}/p/","destination":"{landing}"}}',
        f"user:{PASSWORD}@{it.bucket}/p/, {landing}/out",
        f"elsewhere/x, {landing}/out",
    ):
        it.leave(text)
    for arguments in (["--sign", str(signing)], []):
        place = ("send", it.queue, REGION, it.uri("signed/c"), f"{landing}/signed")
        sent = it.backhaul(*place, *arguments)
        assert sent.code == 0, sent
        canaries.assert_not_in(sent, "send")
    agent = it.start("--config", str(config))
    # With Kerberos, JVMs of `hdfs dfs` check the routes and the files: slow on a busy machine.
    agent.logged("transfer done", times=2, within_s=240)
    agent.logged("message dead-lettered", times=6, within_s=60)

    workers = agent.workers()
    assert workers
    for process in (psutil.Process(agent.pid), *workers):
        canaries.assert_absent(f"argv of {process.pid}", "\0".join(process.cmdline()).encode())
    for worker in workers:
        assert SIGNATURE not in worker.environ().values(), "a worker checks no signature"
    agent.terminate()
    ended = agent.wait()
    assert ended.code == 0, ended
    canaries.assert_not_in(ended, "run")

    listed = it.history()
    done, _ = [row for row in listed if row["state"] == "done"]
    dead = [row["id"] for row in listed if row["state"] == "dead"]
    for command in (
        ["history"],
        ["show", done["id"]],
        ["show", done["id"], "--json"],
        ["show", done["id"], "--evidence"],
        *(["show", one, "--json"] for one in dead[:2]),
    ):
        canaries.assert_not_in(it.backhaul(*command), " ".join(command))
    body = tmp_path / "body"
    body.write_text(f"s3://user:{PASSWORD}@{it.bucket}/p/, {landing}/out")
    shown = it.backhaul("explain", str(body), "--config", str(config))
    canaries.assert_not_in(shown, "explain")
    copied = it.backhaul(
        *("copy", it.uri("p/a"), f"{landing}/copy", "--config", str(config), "--region", REGION)
    )
    assert copied.code == 0, copied
    canaries.assert_not_in(copied, "copy")

    letters = it.dead_letters()
    assert len(letters) == 6
    assert "E_SIG_MISSING" in {letter["backhaul.code"] for letter in letters}
    for letter in letters:
        attributes = {name: value for name, value in letter.items() if name != "body"}
        canaries.assert_absent("a dead letter's attributes", repr(attributes).encode())
    assert log.stat().st_size > 1000
    counted = metrics.read_text("utf-8")
    assert 'backhaul_transfers_total{route="r",state="done",code=""} 1.0' in counted
    samples = "\n".join(line for line in counted.splitlines() if not line.startswith("#"))
    for foreign in (it.bucket, landing, "unheard-of"):  # what messages hold is no label
        assert foreign not in samples.replace(f'queue="{it.queue}"', "")
    canaries.assert_not_in_files((*it.home.rglob("*"), *tmp_path.glob("*")), keytab, body, signing)


def test_no_secret_of_a_body_leaves(local: Installation) -> None:
    """Presigned links, tokens and keys that people paste: hidden in all but the letter's body."""
    signature, token = "canaryc0ffeeSIGNATURE", "canaryc0ffeeTOKEN"
    canaries = Canaries(signature, token, PASSWORD)
    place = local.landing.uri
    for body in (
        f"https://raw.s3.amazonaws.com/a?X-Amz-Signature={signature}, {place}",
        f"{local.bucket}/a?X-Amz-Security-Token={token}&x=1, {place}",
        f'{{"aws_secret_access_key": "{PASSWORD}"}}',
        f'{{"v": 1, "source": "s3://{local.bucket}/a", "Authorization": "Bearer {token}"}}',
        f'"Authorization: Bearer {token}"',
    ):
        local.leave(body)
    canaries.assert_not_in(local.drained("--allow", local.allow), "run")
    canaries.assert_not_in(local.backhaul("history"), "history")
    for row in local.history():
        canaries.assert_not_in(local.backhaul("show", row["id"], "--json"), "show")
    canaries.assert_not_in(local.backhaul("dlq", "list", local.queue, REGION), "dlq list")
    letters = local.dead_letters()
    assert len(letters) == 5
    for letter in letters:
        attributes = {name: value for name, value in letter.items() if name != "body"}
        canaries.assert_absent("a dead letter's attributes", repr(attributes).encode())
    canaries.assert_not_in_files(local.home.rglob("*"))


def test_a_worker_inherits_no_secret_that_it_has_no_use_for(local: Installation) -> None:
    local.is_warm = False
    local.environment["HADOOP_PROXY_USER"] = "somebody"
    local.put("a", b"1")
    local.ask_for("a")
    agent = local.start()
    agent.logged("transfer done")
    for process in agent.workers():
        inherited = process.environ()
        assert "HADOOP_PROXY_USER" not in inherited, "only a route says for whom it acts"
        assert inherited["AWS_SECRET_ACCESS_KEY"], "it reads S3"
    agent.terminate()
    assert agent.wait().code == 0


def test_settings_that_are_secrets_are_kept_from_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
    from backhaul.app.ports import worker_environment

    monkeypatch.setenv("BACKHAUL_SIGNATURE_KEY", SIGNATURE)
    monkeypatch.setenv("BACKHAUL_AGENT__SLOTS", "2")
    monkeypatch.setenv("BACKHAUL_S3_SECRET", "for Hadoop")
    hadoop = HadoopConfiguration(environment_names=frozenset({"BACKHAUL_S3_SECRET"}))
    assert "for Hadoop" not in worker_environment(HadoopConfiguration(), None).values()
    given = worker_environment(hadoop, None)
    assert "for Hadoop" in given.values()
    assert SIGNATURE not in given.values()
    assert given["BACKHAUL_AGENT__SLOTS"] == "2"


def test_a_proxys_password_is_nowhere_to_be_read(local: Installation) -> None:
    """SQS and S3 behind a proxy that is not there: every error names it, none its password."""
    canaries = Canaries(PASSWORD)
    local.put("a", b"1")
    local.ask_for("a")
    proxy = f"http://user:{PASSWORD}@127.0.0.1:9"
    here = dict(local.environment)
    for name in ("NO_PROXY", "no_proxy"):
        local.environment[name] = ""
    local.environment |= {"HTTPS_PROXY": proxy, "https_proxy": proxy}
    local.environment["AWS_ENDPOINT_URL_SQS"] = "https://sqs.us-east-1.amazonaws.com"
    started = local.drain()
    assert started.code == 69, started
    canaries.assert_not_in(started, "run")

    local.environment["AWS_ENDPOINT_URL_SQS"] = here["AWS_ENDPOINT_URL_SQS"]
    local.environment["AWS_ENDPOINT_URL_S3"] = "https://s3.us-east-1.amazonaws.com"
    held = local.drain(BACKHAUL_AGENT__DRAIN_PATIENCE_S="0")
    assert held.of("transfer held"), held
    canaries.assert_not_in(held, "run, held")
    canaries.assert_not_in_files(local.home.rglob("*"))


def test_running_as_root_is_told_in_one_line(local: Installation) -> None:
    ended = local.drained()
    warned = [line for line in ended.err.splitlines() if "running as root" in line]
    assert len(warned) == (1 if os.geteuid() == 0 else 0)
