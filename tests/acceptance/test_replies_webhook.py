"""A webhook by the real agent: signed for who has the secret, which nothing else shows."""

from __future__ import annotations

import json
import tarfile

import pytest

from testbed.receiver import Receiver, receiving
from tests.acceptance.installation import Installation
from tests.unit.test_replies_command import is_genuine

pytestmark = pytest.mark.integration

SECRET = "canaryc0ffeeSECRETofTheHook0123456789"
TOKEN = "canaryc0ffeeINTHEPATH"


def test_a_webhook_gets_what_has_arrived_and_its_secret_stays_here(local: Installation) -> None:
    """One receiver takes it, the other answers 500 and repeats the secret."""
    secret = local.home / "secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)
    config, log = local.home / "backhaul.toml", local.home / "backhaul.log"
    bundle = local.home / "bundle.tar.gz"
    with (
        receiving(Receiver()) as good,
        receiving(Receiver(status=500, body=f"bad {SECRET}".encode())) as bad,
    ):
        config.write_text(
            f'[log]\nlevel = "debug"\nfile = "{log}"\n'
            f'[[route]]\nname = "landing"\nsource = ["s3://{local.bucket}/"]\n'
            f'destination = ["{local.landing.uri}/"]\nreplies = ["good", "bad"]\n'
            + "".join(
                f'[[reply]]\nname = "{name}"\nsecret_file = "{secret}"\n'
                f'webhook = "http://127.0.0.1:{one.port}/{TOKEN}?key={TOKEN}"\n'
                for name, one in (("good", good), ("bad", bad))
            )
        )
        local.put("a", b"one")
        local.ask_for("a")
        ended = local.drained("--config", str(config))
        tried = local.backhaul("replies", "test", "bad", "--config", str(config))
        packed = local.backhaul("doctor", "--bundle", str(bundle), "--config", str(config))
    (transfer,) = local.history()
    (got,) = good.received
    assert got.path == f"/{TOKEN}?key={TOKEN}"
    assert is_genuine(SECRET, dict(got.headers.items()), got.body)
    assert json.loads(got.body)["key"] == got.headers["Backhaul-Key"] == f"{transfer['id']}-1-done"
    assert json.loads(bad.received[0].body)["key"] == got.headers["Backhaul-Key"]
    assert (tried.code, transfer["state"]) == (69, "done")
    assert "E_REPLY_SERVER" in log.read_text(), "what failed is in the log"

    found = {"run": str(ended), "replies test": str(tried), "doctor": str(packed)}
    for path in local.home.rglob("*"):
        if path.is_file() and path not in {secret, config, bundle}:
            found[str(path)] = path.read_bytes().decode("latin-1")
    with tarfile.open(bundle) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name] = file.read().decode("latin-1")
    assert len(found) > 8
    assert [name for name, text in found.items() if SECRET in text or TOKEN in text] == []
