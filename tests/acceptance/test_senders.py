"""One sender floods a queue: another one gets its share of the slots, of one agent and of three."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from backhaul.testing.servers import Moto
from testbed import ElasticMQ, PostgreSQL, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, eventually
from tests.acceptance.proxy import Answer, Proxy, Seen

pytestmark = pytest.mark.integration

SLOTS = 4
QUIET = 10  # messages of the one that does not flood
TIMES = 4  # so many of the other one for each of these
FLOOD, OTHER = "AROAFLOOD", "AIDAQUIET"
CONTENT = b"x" * 200
RATE = 400.0  # bytes per second: a copy takes half a second, so all slots are busy


def order(quiet: int = QUIET, times: int = TIMES) -> list[str]:
    return ([FLOOD] * times + [OTHER]) * quiet


def slow(s3: Proxy, rate: float = RATE) -> None:
    def slowly(answer: Answer) -> None:
        answer.rate = rate

    s3.lie(slowly, to=lambda seen: seen.is_object_get)


def send_by_tenant(it: Installation, tenants: list[str]) -> dict[str, str]:
    """Returns the tenant of each message by its id."""
    sent = {}
    for number, tenant in enumerate(tenants):
        answer = it.sqs.send_message(
            QueueUrl=it.queue_url,
            MessageBody=f"{it.uri('p/a')}, {it.landing.uri}/{number}",
            MessageGroupId=tenant,
        )
        sent[answer["MessageId"]] = tenant
    return sent


def check_fair(started: list[str], slots: int) -> None:
    both = started[: len(started) - started[::-1].index(OTHER)]
    # As many as have a slot before the other sender is known.
    assert both.count(FLOOD) <= 2 * both.count(OTHER) + slots, started


def check_shares(it: Installation, s3: Proxy, sent: dict[str, str]) -> None:
    slow(s3)
    ended = it.drained(BACKHAUL_AGENT__SLOTS=str(SLOTS))
    started = [sent[line["message_id"]] for line in ended.of("message received")]
    assert Counter(started) == {FLOOD: TIMES * QUIET, OTHER: QUIET}, "each was received once"
    check_fair(started, SLOTS)
    assert {one["state"] for one in it.history("--limit", "100")} == {"done"}


def test_two_senders_share_the_slots_of_a_queue_that_one_floods(
    install: Install, sqs_proxy: Proxy, elasticmq: ElasticMQ, s3_proxy: Proxy, s3proxy: S3Proxy
) -> None:
    """ElasticMQ names every sender alike: who it was is written into its answers."""
    it = install(sqs_proxy, s3_proxy, sqs_direct=elasticmq, s3_direct=s3proxy)
    it.put("p/a", CONTENT)
    sent = {}
    for number, sender in enumerate(order()):
        sent[it.ask_for("p/a", str(number))] = sender

    def name_senders(answer: Answer) -> None:
        found = json.loads(answer.body)
        for one in found.get("Messages", []):
            session = f":{one['MessageId']}" if sent[one["MessageId"]] == FLOOD else ""
            one["Attributes"]["SenderId"] = sent[one["MessageId"]] + session
        answer.body = json.dumps(found).encode()

    def is_receive(seen: Seen) -> bool:
        return seen.action == "ReceiveMessage"

    sqs_proxy.lie(name_senders, to=is_receive)
    check_shares(it, s3_proxy, sent)


def test_two_tenants_of_a_fair_queue_share_its_slots(
    install: Install, moto_server: Moto, moto_proxy: Proxy
) -> None:
    """All of one principal, as where a service sends for its tenants."""
    it = install(moto_server, moto_proxy, s3_direct=moto_server)
    it.put("p/a", CONTENT)
    check_shares(it, moto_proxy, send_by_tenant(it, order()))


AGENTS, SLOTS_OF_EACH = 3, 2


@pytest.mark.timeout(300)
def test_two_senders_share_the_slots_of_three_agents(
    install: Install,
    moto_server: Moto,
    moto_proxy: Proxy,
    postgresql: PostgreSQL,
    postgres_database: str,
) -> None:
    it = install(moto_server, moto_proxy, s3_direct=moto_server)
    it.environment |= {
        "PGPASSFILE": str(postgresql.pass_file),
        "BACKHAUL_LEDGER": postgresql.url(postgres_database),
        "BACKHAUL_AGENT__SLOTS": str(SLOTS_OF_EACH),
    }
    it.put("p/a", CONTENT)
    tenants = order(quiet=20, times=6)
    sent = send_by_tenant(it, tenants)
    slow(moto_proxy, RATE / 2)
    agents = [it.start() for _ in range(AGENTS)]

    def started() -> list[str]:
        lines = [line for agent in agents for line in agent.of("message received")]
        return [sent[one["message_id"]] for one in sorted(lines, key=lambda one: one["at"])]

    eventually(
        lambda: started().count(OTHER) == tenants.count(OTHER),
        within_s=200,
        what="all of the other sender",
    )
    for agent in agents:
        agent.terminate()
    check_fair(started(), SLOTS_OF_EACH * AGENTS)
