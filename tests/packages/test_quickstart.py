"""The quick start, word for word, by a newcomer: with the deb on a small Debian, and a testbed.

What stands for AWS and the cluster, as the page says: a queue and a bucket that exist, real HDFS
daemons, and where they are in the agent's AWS profile.
"""

from __future__ import annotations

import json
import shlex
import shutil

import pytest

from backhaul.testing.servers import Hdfs, clients
from testbed import ElasticMQ, S3Proxy, seed
from tests.docs.manual import DOCS, fences, first_copy
from tests.packages.built import Packages
from tests.packages.machine import Machine

pytestmark = [pytest.mark.long, pytest.mark.integration, pytest.mark.timeout(600)]
# The testbed's names for those of the page.
NAMES = (
    ("my-queue", seed.QUEUE),
    ("us-west-2", clients.REGION),
    ("s3://acme-raw/click/day=01/", f"s3://{seed.BUCKET}/{seed.PREFIX}"),
    ("s3://acme-raw/click/", f"s3://{seed.BUCKET}/clicks/"),
)
SUDO = """#!/bin/sh
# What the page uses of sudo, without a package more: -u USER COMMAND, environment and home by it.
[ "$1" = -u ] || exit 64
user=$2
shift 2
exec env -i PATH="$PATH" TERM=dumb HOME="$(getent passwd "$user" | cut -d : -f 6)" \\
  setpriv --reuid="$user" --regid="$user" --init-groups "$@"
"""


def _named(text: str) -> str:
    for of_page, of_testbed in NAMES:
        text = text.replace(of_page, of_testbed)
    return text


def _profile(elasticmq: ElasticMQ, s3proxy: S3Proxy) -> str:
    """The page's, with these addresses."""
    (profile,) = (one for one in fences(DOCS / "quickstart.md", "ini") if "[services" in one)
    for line, endpoint in zip(
        [one for one in profile.splitlines() if "endpoint_url" in one],
        [elasticmq.endpoint, s3proxy.endpoint],
        strict=True,
    ):
        profile = profile.replace(line, f"  endpoint_url = {endpoint}")
    # Otherwise the real one is asked for a key that is none.
    return f"{profile}sts =\n  endpoint_url = http://127.0.0.1:9\n"


class Newcomer:
    """Types the page's commands, each where it belongs."""

    def __init__(
        self, node: Machine, packages: Packages, sqs: ElasticMQ, s3: S3Proxy, hdfs: Hdfs
    ) -> None:
        self.node = node
        self.packages = packages
        self.hdfs = hdfs
        self.sqs = clients.sqs_client(sqs)
        self.profile = _profile(sqs, s3)
        self.keys = clients.environment(sqs=sqs, s3=s3)

    def types(self, command: str) -> str:
        """What the screen shows."""
        match shlex.split(command):
            case ["apt-get", "install", _]:
                return self.node.sh(f"apt-get install {self.node.take(self.packages.deb)}")
            case ["aws", "cloudformation", "deploy", *_]:
                template = json.loads(self.node.path("/etc/backhaul/aws.json").read_text("utf-8"))
                assert template["Resources"]["Queue"]["Properties"]["QueueName"] == seed.QUEUE
                return ""  # the testbed has the queue
            case ["aws", "iam", "create-access-key", *_]:
                return ""  # and takes one key
            case ["sudo", "-u", "backhaul", "vi", file]:
                self._writes(file)
                return ""
            case ["hdfs", *arguments]:
                return self.hdfs.command(*arguments).stdout
            case ["aws", "sqs", "send-message", *_, "--message-body", body]:
                url = self.sqs.get_queue_url(QueueName=seed.QUEUE)["QueueUrl"]
                return self.sqs.send_message(QueueUrl=url, MessageBody=body)["MessageId"]
            case _:
                return self.node.sh(command)

    def _writes(self, file: str) -> None:
        key = (
            "[default]\n"
            f"aws_access_key_id = {self.keys['AWS_ACCESS_KEY_ID']}\n"
            f"aws_secret_access_key = {self.keys['AWS_SECRET_ACCESS_KEY']}\n"
        )
        place = self.node.path(file)
        place.write_text(key, "utf-8")
        place.with_name("config").write_text(self.profile, "utf-8")
        self.node.sh(f"chown backhaul: {file} && chmod 0600 {file}")


def test_a_newcomer_reaches_the_first_proven_copy_by_the_page_alone(
    fresh: Machine, packages: Packages, elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs
) -> None:
    seed.make_queues(clients.sqs_client(elasticmq))
    seed.make_objects(clients.s3_client(s3proxy))
    sudo = fresh.path("/usr/local/bin/sudo")
    sudo.write_text(SUDO, "utf-8")
    sudo.chmod(0o755)
    fresh.path("/etc/hadoop/conf").mkdir(parents=True)
    for name in ("core-site.xml", "hdfs-site.xml"):
        shutil.copyfile(hdfs.conf_dir / name, fresh.path(f"/etc/hadoop/conf/{name}"))

    newcomer = Newcomer(fresh, packages, elasticmq, s3proxy, hdfs)
    shown = {command: newcomer.types(_named(command)) for command in first_copy()}

    def screen(beginning: str) -> str:
        (found,) = (text for command, text in shown.items() if command.startswith(beginning))
        return found

    assert "Next, as root: backhaul init" in screen("apt-get install")
    doctor = screen("sudo -u backhaul backhaul doctor")
    assert " failed" not in doctor.splitlines()[-1], doctor
    assert '"event": "transfer done"' in screen("sudo -u backhaul backhaul run")
    (line,) = screen("sudo -u backhaul backhaul history").splitlines()[1:]
    assert " done " in line
    landed = hdfs.command("dfs", "-ls", "/landing/click/day=01").stdout
    assert sum("part-" in one for one in landed.splitlines()) == 5, "five files of the seed"
    assert ".backhaul" not in hdfs.command("dfs", "-ls", "-R", "/landing/click").stdout
