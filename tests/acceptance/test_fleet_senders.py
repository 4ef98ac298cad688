"""Two senders, one of whom floods the queue: what each gets of the slots of three agents."""

from __future__ import annotations

import pytest

from backhaul.testing.servers import Moto
from testbed import PostgreSQL
from tests.acceptance.conftest import Install
from tests.acceptance.installation import eventually
from tests.acceptance.proxy import Answer, Proxy

pytestmark = pytest.mark.integration

AGENTS = 3
SLOTS = 2
QUIET = 20
TIMES = 6
FLOOD, OTHER = "flood", "quiet"
CONTENT = b"x" * 200
RATE = 200.0


@pytest.mark.timeout(300)
def test_two_senders_share_the_slots_of_three_agents(
    install: Install,
    moto_server: Moto,
    moto_proxy: Proxy,
    postgresql: PostgreSQL,
    postgres_database: str,
) -> None:
    def slowly(answer: Answer) -> None:
        answer.rate = RATE

    it = install(moto_server, moto_proxy, s3_direct=moto_server)
    it.environment |= {
        "PGPASSFILE": str(postgresql.pass_file),
        "BACKHAUL_LEDGER": postgresql.url(postgres_database),
        "BACKHAUL_AGENT__SLOTS": str(SLOTS),
    }
    it.put("p/a", CONTENT)
    sent = {}
    for number, tenant in enumerate(([FLOOD] * TIMES + [OTHER]) * QUIET):
        answer = it.sqs.send_message(
            QueueUrl=it.queue_url,
            MessageBody=f"{it.uri('p/a')}, {it.landing.uri}/{number}",
            MessageGroupId=tenant,
        )
        sent[answer["MessageId"]] = tenant
    moto_proxy.lie(slowly, to=lambda seen: seen.is_object_get)
    agents = [it.start() for _ in range(AGENTS)]
    eventually(
        lambda: (
            sum(
                sent[one["message_id"]] == OTHER
                for agent in agents
                for one in agent.of("message received")
            )
            == QUIET
        ),
        within_s=200,
        what="all of the quiet",
    )
    seen = sorted(
        (one["at"], n, sent[one["message_id"]])
        for n, agent in enumerate(agents)
        for one in agent.of("message received")
    )
    for agent in agents:
        agent.terminate()
    started = [who for _, _, who in seen]
    both = started[: len(started) - started[::-1].index(OTHER)]
    # As many as have a slot before the other sender is known.
    assert both.count(FLOOD) <= 2 * both.count(OTHER) + SLOTS * AGENTS, started
