"""One installation on a cluster, and what the tests of it have in common."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from testbed.yarn import Yarn
from tests.acceptance.installation import Ended, Installation, Running, eventually
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Proxy

PLANTED = "plantedSecretKeyOfTheTests"
OVER = {"FINISHED", "FAILED", "KILLED"}


@dataclass(kw_only=True)
class Site:
    """An agent beside a YARN."""

    it: Installation
    yarn: Yarn
    sqs_proxy: Proxy
    config: Path

    def configure(self, *, route: str = "", distcp: str = "") -> None:
        """Write the configuration: one route to the landing directory, by DistCp."""
        engine = "" if "engine" in route else 'engine = "distcp"\n'
        self.config.write_text(
            f'[distcp]\npoll_s = 0.5\n{distcp}\n[[route]]\nname = "r"\n'
            f'source = ["s3://{self.it.bucket}/"]\ndestination = ["{self.landing.uri}/"]\n'
            f'verify = "stored"\n{engine}{route}\n',
            encoding="utf-8",
        )

    @property
    def landing(self) -> HdfsLanding:
        assert isinstance(self.it.landing, HdfsLanding)
        return self.it.landing

    def start(self) -> Running:
        return self.it.start("--config", str(self.config))

    def drained(self, timeout_s: float = 180) -> Ended:
        return self.it.drained("--config", str(self.config), timeout_s=timeout_s)

    def copy(self, key: str, below: str, **settings: str) -> Ended:
        """`backhaul copy` with the whole log on standard output left out."""
        target = f"{self.landing.uri}/{below}"
        return self.it.backhaul(
            "copy",
            "--config",
            str(self.config),
            self.it.uri(key),
            target,
            timeout_s=600,
            **settings,
        )

    def files(self, below: str) -> dict[str, bytes]:
        found = self.landing.files()
        return {
            name.removeprefix(f"{below}/"): data
            for name, data in found.items()
            if name.startswith(f"{below}/")
        }

    # ------------------------------------------------------------ the cluster

    @property
    def transfer_ids(self) -> list[str]:
        return [row["id"] for row in self.it.history("--limit", "100")]

    def applications(self) -> list[dict[str, Any]]:
        """Of this installation's transfers, oldest first; [] before the ledger is there."""
        path = self.ledger
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
            ids = [row[0] for row in ledger.execute("SELECT id FROM transfers")]
        found = [one for each in ids for one in self.yarn.applications(f"bh-{each}")]
        return sorted(found, key=lambda one: str(one["id"]))

    @property
    def ledger(self) -> Path:
        return self.it.home / ".local" / "state" / "backhaul" / "ledger.db"

    def left_s3(self) -> dict[str, int]:
        """Bytes that the ledger counts, by engine and purpose: `distcp copy`."""
        with contextlib.closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as ledger:
            return dict(
                ledger.execute(
                    "SELECT engine || ' ' || purpose, sum(bytes) FROM egress"
                    " WHERE bytes > 0 GROUP BY engine, purpose"
                )
            )

    def reserved(self) -> int:
        """Bytes per second that applications were given and have not given back."""
        path = self.ledger.with_name(f"{self.ledger.name}.reserved")
        found = json.loads(path.read_text()) if path.exists() else {}
        return sum(rate for rate, until_s in found.values() if until_s > time.time())

    def epoch_tags(self) -> list[str]:
        """Of every application, the tag that only its epoch has."""
        tags = [str(one["applicationTags"]).split(",") for one in self.applications()]
        return [max(each, key=len) for each in tags]

    def job_configurations(self) -> list[bytes]:
        """What MapReduce shows of each job's configuration, from its history in HDFS."""
        root = "/stage/history/done_intermediate/root"
        names = [one.path for one in self.landing.client.list_status(root)]
        return [self.landing.read(name) for name in names if name.endswith("_conf.xml")]

    def client(self, agent: Running) -> list[psutil.Process]:
        """The `hadoop distcp` that the agent has started."""
        found = []
        for process in agent.workers():
            with contextlib.suppress(psutil.Error):
                if "org.apache.hadoop.tools.DistCp" in process.cmdline():
                    found.append(process)
        return found

    def mappers(self) -> list[psutil.Process]:
        """Map tasks that run on the node."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                is_ours = any(str(self.yarn.directory) in word for word in words)
                if is_ours and "org.apache.hadoop.mapred.YarnChild" in words:
                    found.append(process)
        return found

    def show_again(self) -> None:
        """End the wait for the visibility timeout of what a killed agent held."""
        # Its last poll may outlive it in the server, and would swallow the message once more.
        eventually(self.sqs_proxy.no_poll_is_open, what="the poll of the dead has ended")
        for _, body in self.sqs_proxy.of("ReceiveMessage"):
            for one in json.loads(body).get("Messages", []):
                with contextlib.suppress(self.it.sqs.exceptions.ClientError):
                    self.it.sqs.change_message_visibility(
                        QueueUrl=self.it.queue_url,
                        ReceiptHandle=one["ReceiptHandle"],
                        VisibilityTimeout=0,
                    )
        self.sqs_proxy.forget()

    def check_end(self, below: str, expected: dict[str, bytes]) -> None:
        """The right bytes, nothing left, and one application for one epoch."""
        assert self.files(below) == expected
        assert self.landing.staging() == []
        assert self.it.counts() == (0, 0)
        states = {str(one["state"]) for one in self.applications()}
        assert states <= OVER, "an application is left running"
        assert self.reserved() == 0, "nothing runs, and its share of the byte rate is kept"
        tags = self.epoch_tags()
        assert len(tags) == len(set(tags)), f"a second application for one epoch: {tags}"
        assert {row["state"] for row in self.it.history()} == {"done"}


def fill(site: Site, prefix: str, files: dict[str, bytes], *, algorithm: str = "CRC32C") -> None:
    """Put these objects below the prefix."""
    for name, data in files.items():
        site.it.put(f"{prefix}{name}", data, ChecksumAlgorithm=algorithm)


def carried_slowly(
    site: Site, files: dict[str, bytes], *, within_s: float = 90
) -> tuple[Running, dict[str, bytes]]:
    """An agent whose application has these files and a large one on its way to `d`, at 1 MiB/s."""
    slow = {**files, "slow": random.Random(0).randbytes(15 << 20)}
    fill(site, "p/", slow)
    site.configure(distcp='bandwidth = "1MiB"')
    site.it.ask_for("p/", "d")
    agent = site.start()
    agent.logged("transfer runs as a YARN application", within_s=within_s)
    return agent, slow


def when(fetch: Any, what: str, within_s: float = 90) -> Any:
    """`eventually` with a cluster's patience."""
    return eventually(fetch, within_s=within_s, what=what)
