"""What may go wrong, which test makes it happen, and what no test covers: `docs/reliability.md`.

`python -m tests.reliability` writes the page; a test in `tests/docs` holds the two together.
"""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/reliability.md"
A, U, C = "tests/acceptance/", "tests/unit/", "tests/contract/"
SIM = "tests/sim/test_simulation.py"
POINTS = f"{SIM}::test_every_call_struck_in_every_way_ends_the_same"
SCHEDULES = f"{SIM}::test_no_schedule_violates_anything"

# Fault, what is promised, the test that makes it happen.
COVERED = (
    ("the agent is killed before the ledger knows the message", "it comes back", POINTS),
    (
        "the agent is killed while it writes",
        "no reader sees a part",
        f"{A}test_killing.py::test_no_reader_ever_sees_a_part_of_a_tree_whenever_the_agent_is_killed",
    ),
    (
        "killed between proof, rename, record and deletion",
        "adopted or copied again, never lost",
        POINTS,
    ),
    (
        "SIGTERM during copies",
        "finished in the grace, or handed back",
        f"{A}test_stopping.py::test_a_grace_that_is_too_short_hands_the_message_back_at_once",
    ),
    (
        "an agent or its worker is paused until another takes over",
        "its renames find no source",
        SCHEDULES,
    ),
    (
        "a second agent on the same ledger",
        "refused",
        f"{A}test_bad_input.py::test_a_second_agent_on_the_same_ledger_is_75",
    ),
    (
        "the ledger's disk is full, locked or fails",
        "held; nothing spent",
        f"{U}test_ends.py::test_outage_of_an_hour_spends_nothing_and_ends_by_itself",
    ),
    ("a commit whose answer is lost", "looked up again", POINTS),
    (
        "power loss",
        "what was reported is kept",
        f"{U}test_ledger_crash.py::test_kill_9_at_any_moment_loses_nothing_that_was_reported",
    ),
    (
        "a worker dies or hangs",
        "one attempt; the agent lives",
        f"{A}test_killing.py::test_a_killed_worker_costs_its_transfer_an_attempt_and_nothing_else",
    ),
    (
        "a message kills its worker each time",
        "dead with `E_WORKER_DIED`",
        f"{U}test_ends.py::test_message_that_kills_its_worker_ends_dead_with_that_reason",
    ),
    ("a message ends its agent each time", "dead with `E_ATTEMPTS_SPENT`", SCHEDULES),
    (
        "delivered twice",
        "copied once",
        f"{A}test_transient.py::test_a_message_delivered_twice_is_copied_once",
    ),
    ("older version announced after a newer one", "the newer one stays", SCHEDULES),
    (
        "the transfer outlives the visibility timeout",
        "never delivered twice",
        f"{A}test_visibility.py::test_transfers_longer_than_the_visibility_timeout_are_never_delivered_twice",
    ),
    (
        "an answer to DeleteMessage is lost; a deleted message returns",
        "deleted again, not copied",
        f"{A}test_transient.py::test_a_lost_answer_to_delete_is_mended_from_the_ledger",
    ),
    (
        "the message nears its queue's retention",
        "dead with `E_EXPIRING`",
        f"{U}test_ends.py::test_message_is_decided_on_before_its_queue_forgets_it",
    ),
    (
        "S3, HDFS, SQS or credentials away for an hour",
        "held; nothing spent; goes on",
        f"{U}test_ends.py::test_outage_of_an_hour_spends_nothing_and_ends_by_itself",
    ),
    (
        "HDFS in safe mode",
        "held; goes on",
        f"{A}test_bad_input.py::test_safe_mode_holds_and_the_agent_goes_on_by_itself",
    ),
    (
        "a NameNode that hangs",
        "waited for",
        f"{A}test_killing.py::test_a_namenode_that_hangs_is_waited_for_by_an_agent_that_stays_awake",
    ),
    (
        "a flipped bit",
        "never published",
        f"{A}test_lying_s3.py::test_a_flipped_bit_is_never_published_and_ends_with_e_checksum",
    ),
    (
        "a short body",
        "never published",
        f"{A}test_lying_s3.py::test_a_short_body_is_never_published",
    ),
    (
        "a body that stalls",
        "one attempt",
        f"{A}test_lying_s3.py::test_a_body_that_stalls_costs_a_worker_and_one_attempt",
    ),
    (
        "the object changes under way",
        "one of its states, whole",
        f"{A}test_lying_s3.py::test_an_object_overwritten_under_way_arrives_as_one_of_its_states",
    ),
    ("the answer to a rename is lost", "looked up", POINTS),
    ("staging that nobody comes back to", "gone within the hour", SCHEDULES),
    ("the route is taken away under way", "nothing more is published", SCHEDULES),
    (
        "dead letters",
        "listed, shown, sent back",
        f"{C}test_dlq.py::test_all_letters_go_back_with_their_senders_attributes_only",
    ),
)

UNCOVERED = (
    (
        "two agents with separate ledgers",
        "no test; order between versions is not promised there, and nothing refuses the second agent",
    ),
    (
        "a deputy agent on another host",
        "an owner elsewhere counts as alive for ever: its transfers wait for it",
    ),
    (
        "two states of an object within one second",
        "S3 tells whole seconds: which of the two is newer cannot be told, and the later transfer wins",
    ),
    ("failover of a NameNode pair", "not automated"),
    (
        "DataNode death, quota, a full local disk under the target",
        "errors are mapped by table; not brought about in a run",
    ),
    ("clock steps of the machine", "deadlines are monotonic; not brought about in a run"),
    (
        "random kills of the real process by the hundred",
        "`tests/acceptance/test_killing.py` kills it at some moments only",
    ),
    (
        "a poller or visibility thread that hangs",
        "no watchdog notices it; an exception in the poller ends the process",
    ),
    ("order within a FIFO queue's group", "SQS keeps it; no test of ours looks"),
    ("jobs on YARN", "not part of this page"),
)


def page() -> str:
    """The whole text."""
    lines = [
        "# Reliability",
        "",
        "What may go wrong, what Backhaul promises then, and the test that makes it happen.",
        "`./dev test` runs all of them, 2,000 simulated schedules among them; `./dev prove` runs",
        "100,000, and `./dev prove --seed N` replays one.",
        "",
        "A simulated schedule is the real agent on stand-ins that keep the rules of SQS, S3, HDFS and the",
        "ledger, in one thread. A seed decides who goes on at each call, which calls fail, which take",
        "effect and lose their answer, and which agent dies or stands still. After each step a checker that",
        "sees everything asks whether data was lost, half visible or replaced by something older.",
        "",
        "## Covered",
        "",
        "| what happens | promise | test |",
        "|---|---|---|",
        *(f"| {fault} | {promise} | `{test}` |" for fault, promise, test in COVERED),
        "",
        "## Not covered",
        "",
        "| what happens | what is known |",
        "|---|---|",
        *(f"| {fault} | {known} |" for fault, known in UNCOVERED),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
