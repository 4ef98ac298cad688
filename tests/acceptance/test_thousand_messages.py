"""Many small messages: all arrive, all are deleted, in bounded memory."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import psutil
import pytest

from tests.acceptance.installation import Installation, Running

pytestmark = pytest.mark.integration
COUNTS = (300, pytest.param(1000, marks=pytest.mark.long))
MEMORY_MAX = 400_000_000


class Watch(threading.Thread):
    """What agent and workers use: the most RSS seen (shared pages counted twice), CPU so far."""

    def __init__(self, agent: Running) -> None:
        super().__init__(daemon=True)
        self._agent = agent
        self.most = 0
        self.agent_cpu_s = self.workers_cpu_s = 0.0

    def run(self) -> None:
        while self._agent.is_alive:
            try:
                agent, workers = psutil.Process(self._agent.pid), self._agent.workers()
                total = sum(one.memory_info().rss for one in (agent, *workers))
                agent_cpu_s = sum(agent.cpu_times()[:2])
                workers_cpu_s = sum(sum(one.cpu_times()[:2]) for one in workers)
            except psutil.NoSuchProcess:
                continue
            self.most = max(self.most, total)
            self.agent_cpu_s = max(self.agent_cpu_s, agent_cpu_s)
            self.workers_cpu_s = max(self.workers_cpu_s, workers_cpu_s)
            threading.Event().wait(0.1)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", COUNTS)
def test_many_messages_of_one_small_object_each(local: Installation, count: int) -> None:
    local.is_warm = False  # its memory is measured
    data = {f"k{n:04}": random.Random(n).randbytes(16 * 1024) for n in range(count)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: local.put(*item), data.items()))
    for start in range(0, count, 10):
        local.sqs.send_message_batch(
            QueueUrl=local.queue_url,
            Entries=[
                {
                    "Id": str(n),
                    "MessageBody": f"{local.bucket}/k{n:04}, {local.landing.uri}/{n % 10}",
                }
                for n in range(start, start + 10)
            ],
        )
    assert local.counts() == (count, 0)
    agent = local.start("--drain")
    watch = Watch(agent)
    watch.start()
    ended = agent.wait(250)
    watch.join()
    assert ended.code == 0, ended.err
    received = [datetime.fromisoformat(e["at"]) for e in ended.of("message received")]
    done = [datetime.fromisoformat(e["at"]) for e in ended.of("transfer done")]
    seconds = (max(done) - min(received)).total_seconds()
    first = datetime.fromisoformat(ended.of("agent started")[0]["at"])
    startup = (min(received) - first).total_seconds()
    print(  # noqa: T201 - shown by -rP
        f"\n{count} messages in {seconds:.1f} s: {count / seconds:.0f} a second; "
        f"first received {startup:.2f} s after the start; most memory {watch.most / 1e6:.0f} MB; "
        f"CPU {watch.agent_cpu_s:.1f} s agent, {watch.workers_cpu_s:.1f} s workers"
    )
    assert len(done) == count
    assert len(received) == count
    assert local.counts() == (0, 0)
    assert local.dead_letters() == []
    wanted = {f"{int(key[1:]) % 10}/{key}": content for key, content in data.items()}
    assert local.landing.files() == wanted
    assert local.landing.staging() == []
    assert watch.most < MEMORY_MAX
    # No message waits for another's turn at the end: the last hundred are as quick as the first.
    done.sort()
    first_hundred = (done[199] - done[99]).total_seconds()
    last_hundred = (done[-1] - done[-101]).total_seconds()
    assert last_hundred < 4 * max(first_hundred, 0.5)
