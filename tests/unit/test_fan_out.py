"""One receiver of facts that has a defect costs the others nothing."""

from __future__ import annotations

from backhaul.app.facts import fan_out


def test_a_defect_of_a_receiver_is_in_the_log_and_nothing_ends() -> None:
    log: list[object] = []
    counted: list[object] = []
    defect = ValueError("counters do not fall")

    def write(fact: object) -> None:
        log.append(fact)

    def break_down(fact: object) -> None:
        assert fact == "fact"
        raise defect

    def count(fact: object) -> None:
        counted.append(fact)

    fan_out(write, break_down, count)("fact")
    assert log == ["fact", defect]
    assert counted == ["fact"]
