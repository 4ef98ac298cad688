"""What the report says left S3 is what a proxy saw leave it, in the real process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.acceptance.installation import Installation
from tests.acceptance.proxy import Answer, Proxy

pytestmark = pytest.mark.integration

SIZES = {"p/small": 100_000, "p/medium": 3_000_000, "p/large": 20_000_000}
SIZE = sum(SIZES.values())


def cut(answer: Answer) -> None:
    answer.cut_after = len(answer.body) * 2 // 5


def counting(sent: list[int]) -> Callable[[Answer], None]:
    """To be the last rule."""

    def count(answer: Answer) -> None:
        whole = len(answer.body)
        sent.append(whole if answer.cut_after is None else answer.cut_after)

    return count


def test_the_report_has_the_bytes_that_a_proxy_saw(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    it = behind_proxy
    for key, size in SIZES.items():
        it.put(key, bytes(size))
    it.ask_for("p/", "out")
    sent: list[int] = []
    s3_proxy.lie(cut, times=4)
    s3_proxy.lie(lambda answer: answer.flip_a_bit(), times=6)
    s3_proxy.lie(counting(sent))
    it.drained()

    group, total = (json.loads(line) for line in it.backhaul("report", "--json").out.splitlines())
    assert (total["done"], total["objects"], total["copy_bytes"]) == (1, 3, SIZE)
    assert total["retry_bytes"] > 0
    assert abs(total["bytes"] - sum(sent)) <= sum(sent) // 1000
    assert {**total, "kind": "group", "key": group["key"]} == group
    (row,) = it.history()
    assert (row["egress_copy"], row["egress_retry"]) == (SIZE, total["retry_bytes"])
    assert "once more: $0.00 by AWS's list price" in it.backhaul("show", row["id"]).out


def test_a_copy_says_what_it_may_cost_before_a_byte_is_read(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    it = behind_proxy
    it.put("p/a", b"a" * 1000)
    s3_proxy.lie(lambda answer: answer.refuse(403, "AccessDenied"))
    ended = it.backhaul(
        *("copy", it.uri("p/"), f"{it.landing.uri}/out", "--allow", it.allow),
        BACKHAUL_COST__EGRESS_USD_PER_GB="100",
    )
    assert re.search(r"at most 1 object, 1000 B would leave AWS: < \$0\.01 by \[cost\]", ended.err)
    assert ended.code == 65
