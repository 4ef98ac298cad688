"""The catalogue of faults: what happens, what is promised then, which tests make it happen.

The names F01 to F106 are those of the catalogue that Backhaul was designed against; rows about YARN
have tests of their own, in `tests/yarn`, and are not here.
"""

from __future__ import annotations

from dataclasses import dataclass

A, U, C = "tests/acceptance/", "tests/unit/", "tests/contract/"
SIM = "tests/sim/test_simulation.py"
POINTS = f"{SIM}::test_every_call_struck_in_every_way_ends_the_same"
SCHEDULES = f"{SIM}::test_no_schedule_violates_anything"
HOUR = f"{U}test_ends.py::test_outage_of_an_hour_spends_nothing_and_ends_by_itself"
TORTURE = f"{A}test_torture.py::test_a_tormented_agent_loses_nothing_and_shows_nothing_half"
LIES = f"{A}test_lying_s3.py"
HOST = f"{A}test_host_faults.py"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault.

    Attributes:
        name: As in the catalogue; empty for what is not in it.
        tests: Each makes it happen; none: `known` says why.
        known: What is not covered, or what is promised no further.
    """

    name: str
    fault: str
    promise: str
    tests: tuple[str, ...] = ()
    known: str = ""


def _row(name: str, fault: str, promise: str, *tests: str, known: str = "") -> Row:
    return Row(name=name, fault=fault, promise=promise, tests=tests, known=known)


AGENT = (
    _row("F01", "killed before the ledger knows the message", "it comes back", POINTS, TORTURE),
    _row(
        "F02",
        "killed while it writes",
        "no reader sees a part",
        f"{A}test_killing.py::test_no_reader_ever_sees_a_part_of_a_tree_whenever_the_agent_is_killed",
        TORTURE,
    ),
    _row("F03", "killed between proof and rename", "copied again or adopted", POINTS),
    _row("F04", "killed between rename and record", "adopted, not copied again", POINTS),
    _row(
        "F05",
        "killed between record and deletion",
        "deleted again, not copied",
        POINTS,
        f"{U}test_agent.py::test_redelivery_of_a_done_transfer_is_deleted_and_not_copied",
    ),
    _row(
        "F06",
        "SIGTERM during copies",
        "finished in the grace, or handed back",
        f"{A}test_stopping.py::test_a_grace_that_is_too_short_hands_the_message_back_at_once",
        f"{A}test_stopping.py::test_a_transfer_is_finished_within_the_grace_and_nothing_more_is_received",
    ),
    _row(
        "F07",
        "agent or worker paused until another takes over",
        "its renames find no source; what it ran into spends nothing",
        SCHEDULES,
        f"{U}test_ends.py::test_failure_of_an_attempt_that_was_taken_over_is_none",
        TORTURE,
    ),
    _row(
        "F08",
        "two agents on one queue, with separate ledgers",
        "nothing lost, nothing half visible",
        SCHEDULES,
        f"{SIM}::test_two_ledgers_that_stage_under_one_epoch_come_back_and_end_well",
        TORTURE,
        known="the second agent is not refused; order between versions, economy and "
        "`history` are not promised there",
    ),
    _row(
        "",
        "a second agent on the same ledger",
        "refused, exit 75",
        f"{A}test_bad_input.py::test_a_second_agent_on_the_same_ledger_is_75",
    ),
    _row(
        "F10",
        "power loss",
        "what was reported is kept",
        f"{U}test_ledger_crash.py::test_kill_9_at_any_moment_loses_nothing_that_was_reported",
        f"{U}test_ledger_files.py::test_connection_is_set_for_power_cuts",
        SCHEDULES,
        known="writes that the disk itself loses are not played back",
    ),
    _row(
        "F11",
        "too few file descriptors",
        "nothing is lost",
        f"{HOST}::test_an_agent_with_few_file_descriptors_loses_nothing",
        known="attempts may be spent; concurrency does not shrink by itself",
    ),
    _row(
        "F12",
        "the ledger's disk is full",
        "held; goes on when there is room",
        f"{U}test_ledger_faults.py::test_full_ledger_is_an_outage_and_goes_on_afterwards",
        HOUR,
        TORTURE,
    ),
    _row(
        "F13",
        "the log cannot be written",
        "transfers go on",
        f"{HOST}::test_a_log_that_cannot_be_written_stops_no_transfer",
    ),
    _row(
        "F14",
        "the ledger turns read-only",
        "held; nothing is deleted without a commit",
        f"{U}test_ledger_faults.py::test_read_only_ledger_is_an_outage",
        TORTURE,
        known="an EIO of the disk is mapped by table, and not brought about",
    ),
    _row(
        "F15",
        "the ledger is damaged",
        "refused at the start; a running agent stops",
        f"{U}test_ledger_files.py::test_damaged_page_is_found_at_start",
        f"{U}test_ledger_faults.py::test_damage_stops_the_agent",
        known="it is not rebuilt: the backup is for that",
    ),
    _row(
        "F16",
        "the ledger is lost",
        "what is published is adopted",
        f"{A}test_proof.py::test_without_its_ledger_a_repeated_request_copies_nothing",
    ),
    _row(
        "F17",
        "SQLite's WAL-reset defect",
        "rollback journal, no WAL",
        f"{U}test_ledger_files.py::test_connection_is_set_for_power_cuts",
    ),
    _row(
        "F18",
        "the ledger is locked",
        "held after 30 s",
        f"{U}test_ledger_faults.py::test_ledger_locked_by_another_process_is_an_outage",
    ),
    _row(
        "F19",
        "a commit whose answer is lost",
        "looked up again",
        POINTS,
        f"{C}test_ledger_lost_commits.py::test_a_commit_without_an_answer_is_learnt_and_not_repeated",
    ),
    _row(
        "",
        "PostgreSQL fails over and loses commits, then the old primary returns",
        "no epoch is given twice; the old primary is refused",
        f"{C}test_ledger_failover.py::test_a_failover_that_loses_commits_gives_no_epoch_twice_and_the_old_primary_is_refused",
    ),
    _row(
        "",
        "PostgreSQL's synchronous standby is gone",
        "held, not hung",
        f"{C}test_ledger_failover.py::test_a_commit_that_waits_for_a_standby_that_is_gone_is_held_and_not_repeated",
    ),
    _row(
        "",
        "PostgreSQL is away for a minute, with five agents at work",
        "no agent takes over another's work; each goes on within 30 s of the return",
        f"{A}test_fleet_outage.py::test_an_outage_of_a_minute_costs_no_takeover_and_no_message",
    ),
    _row(
        "F20, F21",
        "the clock steps by an hour",
        "no deadline runs out, nothing short is published",
        f"{U}test_watchdog.py::test_a_machine_that_slept_for_a_day_hangs_nowhere",
        TORTURE,
    ),
    _row(
        "F22",
        "the clock is wrong for AWS or Kerberos",
        "held, with one clear reason",
        f"{U}test_aws_errors.py::test_refused_queue_holds_the_route",
        known="answers are played, the clock is not moved",
    ),
    _row(
        "F23",
        "upgrade and downgrade",
        "an older ledger is migrated, a newer one refused",
        f"{U}test_ledger_files.py::test_ledger_of_the_first_version_is_migrated_with_what_it_holds",
        f"{U}test_ledger_files.py::test_newer_ledger_is_refused_and_left_alone",
    ),
    _row(
        "F24",
        "the route is taken away under way",
        "nothing more is published",
        SCHEDULES,
        f"{U}test_agent.py::test_route_removed_under_way_publishes_nothing",
    ),
    _row(
        "F25",
        "a panic in native code",
        "one attempt; the worker is replaced",
        f"{U}test_hdfs_errors.py::test_each_error_of_the_client_has_its_fate",
    ),
    _row(
        "F26",
        "a native call hangs",
        "the worker is killed; the agent lives",
        f"{U}test_pool.py::test_hanging_read_is_stalled_although_the_worker_ticks",
        f"{A}test_watchdogs.py::test_a_worker_that_makes_no_progress_is_replaced_and_its_transfer_goes_on",
    ),
    _row(
        "F27",
        "a poller, heartbeat or main thread that hangs or dies",
        "exit 70; the next start goes on",
        f"{A}test_watchdogs.py::test_an_agent_whose_threads_hang_or_die_says_so_and_exits_70_and_the_next_one_goes_on",
        f"{A}test_watchdogs.py::test_a_main_thread_that_hangs_ends_its_process",
    ),
    _row(
        "F28",
        "systemd's watchdog",
        "slow I/O does not starve it",
        f"{A}test_watchdogs.py::test_systemd_hears_of_ready_alive_and_stopping_and_nothing_of_a_stopped_agent",
    ),
    _row(
        "",
        "a worker dies",
        "one attempt; the agent lives",
        f"{A}test_killing.py::test_a_killed_worker_costs_its_transfer_an_attempt_and_nothing_else",
        TORTURE,
    ),
    _row(
        "",
        "a message kills its worker each time",
        "dead with `E_WORKER_DIED`",
        f"{U}test_ends.py::test_message_that_kills_its_worker_ends_dead_with_that_reason",
    ),
    _row(
        "",
        "a message ends its agent each time",
        "dead with `E_ATTEMPTS_SPENT`",
        f"{U}test_agent.py::test_message_that_kills_its_agent_is_dead_in_the_end",
        SCHEDULES,
    ),
)

SQS = (
    _row(
        "F29",
        "delivered twice",
        "copied once",
        f"{A}test_transient.py::test_a_message_delivered_twice_is_copied_once",
        SCHEDULES,
    ),
    _row(
        "F30",
        "an older version announced after a newer one",
        "the newer one stays",
        SCHEDULES,
        f"{U}test_agent.py::test_older_state_never_replaces_a_newer_one",
        known="S3 tells whole seconds: of two states of an object within one second the later "
        "transfer wins, unless events tell their order",
    ),
    _row(
        "F31",
        "the transfer outlives the visibility timeout",
        "never delivered twice",
        f"{A}test_visibility.py::test_transfers_longer_than_the_visibility_timeout_are_never_delivered_twice",
        SCHEDULES,
    ),
    _row(
        "F32",
        "the 12 hours of a receive are over",
        "the transfer goes on",
        f"{U}test_visibility.py::test_total_used_up_is_a_loss_without_a_call",
        f"{U}test_visibility.py::test_extension_never_goes_beyond_the_total",
        f"{C}test_queue.py::test_more_than_twelve_hours_in_all_is_visibility_lost",
    ),
    _row(
        "F33",
        "a stale receipt handle",
        "the newest is used",
        f"{C}test_queue_fake.py::test_older_handle_is_refused_and_deletes_nothing",
        f"{U}test_agent.py::test_redelivery_of_a_running_transfer_only_brings_a_newer_handle",
    ),
    _row("F35", "a deleted message returns", "deleted again, not copied", SCHEDULES),
    _row(
        "F36",
        "the answer to a receive is lost",
        "back when the timeout ends; on a FIFO queue at once",
        POINTS,
        f"{A}test_fifo.py::test_a_receive_whose_answer_is_lost_hides_no_group",
    ),
    _row(
        "F37",
        "SQS would move the message itself",
        "dead before, with its reason",
        f"{U}test_agent.py::test_message_about_to_be_redriven_dies_with_its_reason",
        f"{U}test_queue_check.py::test_each_risk_is_reported_once_with_its_fix",
    ),
    _row(
        "F38",
        "no dead-letter queue",
        "a warning; dead messages are kept, hidden",
        f"{A}test_bad_input.py::test_without_a_dead_letter_queue_a_dead_message_is_kept",
    ),
    _row(
        "F39",
        "the dead-letter queue forgets sooner",
        "a warning at the start",
        f"{U}test_queue_check.py::test_each_risk_is_reported_once_with_its_fix",
    ),
    _row(
        "F40",
        "the message nears its queue's retention",
        "dead with `E_EXPIRING`",
        f"{U}test_ends.py::test_message_is_decided_on_before_its_queue_forgets_it",
        f"{U}test_ends.py::test_held_message_dies_before_its_queue_forgets_it",
        f"{U}test_deaths.py::test_message_that_waits_for_others_dies_before_its_queue_forgets_it",
        f"{U}test_deaths.py::test_placeholder_that_s3_never_confirms_does_not_come_back_for_ever",
        known="no alarm at 50 %",
    ),
    _row(
        "F41",
        "many messages in flight",
        "never more than slots",
        f"{A}test_visibility.py::test_slots_bound_the_transfers_and_the_messages_taken",
    ),
    _row(
        "F42",
        "SQS is away",
        "transfers go on; nothing is spent",
        HOUR,
        f"{U}test_agent.py::test_queue_that_does_not_answer_is_polled_again",
        SCHEDULES,
    ),
    _row(
        "F43",
        "AWS credentials expire",
        "looked up again; else held",
        f"{U}test_aws_errors.py::test_refused_credentials_are_looked_up_again",
        HOUR,
    ),
    _row(
        "F44",
        "the queue is deleted",
        "held, and said so",
        f"{C}test_queue.py::test_queue_deleted_under_way_is_an_outage",
    ),
    _row(
        "F45",
        "a poison message in a FIFO group",
        "dead in the end, the group goes on, in order",
        f"{A}test_fifo.py::test_a_group_keeps_its_order_and_a_poison_message_does_not_block_it",
        f"{U}test_fifo.py::test_message_that_fails_every_time_ends_dead_and_its_group_goes_on",
        SCHEDULES,
    ),
    _row(
        "F46",
        "a long poll on a dead connection",
        "given up after 25 s",
        f"{HOST}::test_a_poll_whose_connection_is_dead_is_given_up_and_asked_again",
    ),
    _row("F47", "a batch deletion fails in part", "", known="messages are deleted one by one"),
    _row(
        "",
        "the answer to a deletion is lost",
        "deleted again, not copied",
        f"{A}test_transient.py::test_a_lost_answer_to_delete_is_mended_from_the_ledger",
    ),
    _row(
        "",
        "dead letters",
        "listed, shown, sent back, into their own group",
        f"{C}test_dlq.py::test_all_letters_go_back_with_their_senders_attributes_only",
        f"{C}test_dlq.py::test_letters_go_back_into_their_own_groups_once",
    ),
)

S3 = (
    _row(
        "F49",
        "the object is overwritten under way",
        "one of its states, whole",
        f"{LIES}::test_an_object_overwritten_under_way_arrives_as_one_of_its_states",
        f"{U}test_native.py::test_large_object_changed_between_its_ranges_is_never_mixed",
    ),
    _row(
        "F50",
        "the object is deleted under way",
        "its version still arrives; else dead with a reason",
        f"{LIES}::test_an_object_deleted_under_way_ends_with_a_reason",
        f"{A}test_main_job.py::test_an_overwritten_object_of_a_versioned_bucket_arrives_whole",
    ),
    _row("F51", "a short body", "never published", f"{LIES}::test_a_short_body_is_never_published"),
    _row(
        "F52",
        "a flipped bit",
        "never published",
        f"{LIES}::test_a_flipped_bit_is_never_published_and_ends_with_e_checksum",
        f"{C}test_corruption.py::test_bit_flipped_on_the_wire_is_caught_against_s3",
    ),
    _row(
        "F53",
        "a body that stalls",
        "one attempt",
        f"{LIES}::test_a_body_that_stalls_costs_a_worker_and_one_attempt",
    ),
    _row(
        "F54",
        "503 and 500 for a while",
        "no message is spent",
        f"{A}test_transient.py::test_an_s3_that_is_busy_for_a_while_costs_no_message",
    ),
    _row(
        "F55",
        "a large object that is slow",
        "no total time limit, an idle one",
        f"{U}test_pool.py::test_slow_object_is_not_stalled",
        f"{C}test_object_store.py::test_stalled_answer_ends_after_the_idle_timeout",
    ),
    _row(
        "F56",
        "403",
        "dead with `E_SRC_DENIED`",
        f"{A}test_bad_input.py::test_a_source_that_s3_forbids_is_dead_lettered",
        known="at once, not after three tries",
    ),
    _row(
        "F57, F58",
        "archived object; key of KMS disabled",
        "dead with its own code",
        f"{C}test_object_store.py::test_refusal_is_mapped",
        known="answers are played; a disabled key does not hold its route",
    ),
    _row(
        "F59",
        "wrong region",
        "the right one is named",
        f"{C}test_object_store.py::test_right_region_is_named",
    ),
    _row(
        "F61, F62",
        "odd keys, and keys that a client would change",
        "byte for byte, or dead",
        f"{A}test_main_job.py::test_odd_keys_arrive_byte_for_byte_and_nothing_runs",
        f"{C}test_object_store.py::test_path_goes_out_byte_for_byte",
        f"{LIES}::test_a_listing_with_another_key_below_it_never_leaves_the_target",
    ),
    _row(
        "F63, F64",
        "an ETag that is no MD5; a COMPOSITE checksum",
        "never compared as what it is not",
        f"{A}test_checksums.py::test_a_multipart_object_without_a_comparable_checksum_is_read_again_from_the_target",
        f"{C}test_object_store.py::test_composite_value_is_no_full_object_whatever_its_type",
    ),
    _row(
        "F65",
        "a certificate that nobody vouches for",
        "refused",
        f"{C}test_tls.py::test_a_certificate_that_nobody_vouches_for_is_refused",
    ),
    _row(
        "F66",
        "a stranger's bucket",
        "the owner is named in every request",
        f"{C}test_object_store_events.py::test_every_request_names_the_owner",
    ),
)

HDFS = (
    _row(
        "F67",
        "NameNode failover under a copy",
        "arrives once, whole",
        f"{A}test_failover.py::test_a_failover_by_hand_under_a_copy_costs_nothing",
        f"{A}test_failover.py::test_an_active_namenode_that_is_killed_is_waited_for_until_the_other_takes_over",
    ),
    _row(
        "",
        "NameNode, DataNode, S3 or SQS goes away under running copies",
        "named in log and `status`; waited for or held; no attempt spent; goes on within 30 s",
        f"{A}test_outages.py::test_outage_under_running_copies_costs_no_attempt",
        f"{U}test_outages.py::test_failure_counts_only_when_both_sides_answer",
        POINTS,
    ),
    _row(
        "",
        "one of several DataNodes dies",
        "its files are written again within the attempt",
        f"{A}test_outages.py::test_one_of_three_datanodes_that_dies_ends_no_attempt",
        f"{U}test_hdfs_errors.py::test_file_whose_datanode_is_gone_is_written_again",
    ),
    _row(
        "",
        "an object hangs every worker while everything answers",
        "dead in the end",
        f"{U}test_outages.py::test_hanging_worker_whose_sides_answer_is_stalled",
        POINTS,
    ),
    _row(
        "F68",
        "no NameNode answers",
        "held; nothing spent; goes on",
        HOUR,
        f"{A}test_bad_input.py::test_an_hdfs_that_cannot_be_reached_holds_and_spends_nothing",
    ),
    _row(
        "F69",
        "a NameNode that hangs",
        "waited for",
        f"{A}test_killing.py::test_a_namenode_that_hangs_is_waited_for_by_an_agent_that_stays_awake",
        TORTURE,
    ),
    _row(
        "F70",
        "safe mode",
        "held; goes on",
        f"{A}test_bad_input.py::test_safe_mode_holds_and_the_agent_goes_on_by_itself",
        TORTURE,
    ),
    _row("F71", "a DataNode dies", "one attempt; goes on", TORTURE),
    _row(
        "F73",
        "the answer to a rename is lost",
        "looked up",
        f"{U}test_operations.py::test_lost_answer_of_a_rename_is_settled_by_looking",
        POINTS,
    ),
    _row("F74", "the answer to a create is lost", "a new epoch", POINTS),
    _row(
        "F75",
        "`NotReplicatedYetException`",
        "another try",
        f"{U}test_hdfs_errors.py::test_each_error_of_the_client_has_its_fate",
    ),
    _row(
        "F76",
        "a quota is used up",
        "held until there is room",
        f"{HOST}::test_a_directory_whose_quota_is_used_up_holds_until_there_is_room",
        known="until the message nears its retention; there is no look ahead",
    ),
    _row(
        "F77",
        "permission denied",
        "dead, staging gone",
        f"{A}test_bad_input.py::test_an_hdfs_directory_that_may_not_be_written_is_dead_lettered",
    ),
    _row(
        "F78",
        "the final path exists",
        "the route's rule",
        f"{A}test_bad_input.py::test_a_route_that_refuses_existing_files_dead_letters_and_leaves_them",
        f"{U}test_agent.py::test_same_content_from_elsewhere_is_fine_under_same_ok",
        f"{U}test_agent.py::test_source_that_changed_between_two_renames_meets_its_own_files_again",
        f"{U}test_agent.py::test_own_file_that_somebody_rewrote_is_not_replaced",
    ),
    _row(
        "F80",
        "encryption zones",
        "staging in the same zone; no overwrite but by rename",
        f"{U}test_hdfs_errors.py::test_a_rename_between_encryption_zones_is_refused_with_its_mend",
        f"{C}test_layouts.py::test_a_zone_is_not_left_or_entered_by_a_rename",
        f"{C}test_layouts.py::test_what_is_written_to_a_zone_is_what_others_read_and_not_what_is_on_disk",
        f"{A}test_layouts.py::test_a_destination_in_an_encryption_zone_is_proven_by_reading_it_back",
        known="zones under Kerberos",
    ),
    _row(
        "F81",
        "a mount of viewfs or of a Router in between",
        "viewfs is resolved at the edge; a Router's refusal ends the transfer, and nothing is lost",
        f"{U}test_mount_tables.py::test_a_resolved_path_never_leaves_the_one_mount_that_it_is_in",
        f"{A}test_federation.py::test_data_arrives_behind_a_mount",
        f"{A}test_federation.py::test_a_router_refuses_to_publish_across_its_mounts_and_nothing_is_lost",
        f"{A}test_federation.py::test_what_goes_away_under_a_copy_is_waited_for",
        known="Kerberos through a Router; mounts of several destinations",
    ),
    _row(
        "F82",
        "the lease of a dead worker",
        "its staging is removed, which frees it",
        f"{A}test_killing.py::test_no_reader_ever_sees_a_part_of_a_tree_whenever_the_agent_is_killed",
        TORTURE,
    ),
    _row(
        "F83",
        "a replica rots after publishing",
        "`backhaul verify` finds it",
        f"{C}test_corruption.py::test_flipped_bit_in_a_datanodes_block_file_is_caught_by_reading",
        f"{A}test_proof.py::test_verify_finds_what_changed_in_hdfs_since",
    ),
    _row(
        "F84",
        "one replica only when the file is closed",
        "",
        known="HDFS's own `dfs.namenode.replication.min` decides; Backhaul does not wait for more",
    ),
    _row(
        "F85",
        "names and paths too long",
        "dead with `E_DST_LIMIT`",
        f"{C}test_target.py::test_hdfs_refusals_name_the_path_and_what_to_do",
    ),
    _row(
        "F86",
        "more than 10,000 blocks",
        "larger blocks",
        f"{U}test_hdfs_creation.py::test_a_file_of_50_tb_has_blocks_that_fit_the_namenodes_limit",
    ),
    _row(
        "F87",
        "a Kerberos ticket expires under way",
        "taken anew from the keytab, or held",
        f"{A}test_kerberos.py::test_tickets_that_expire_under_way_are_taken_anew_from_the_keytab",
        f"{A}test_kerberos.py::test_a_ticket_that_expires_under_way_holds_until_somebody_renews_it",
    ),
    _row(
        "F89",
        "the KMS is down",
        "held; other places go on",
        f"{C}test_layouts.py::test_a_key_server_that_is_down_is_an_outage",
    ),
    _row(
        "F90",
        "staging that nobody comes back to",
        "gone within the hour",
        SCHEDULES,
        f"{C}test_ledger.py::test_staging_is_abandoned_once_its_owner_is_gone_and_until_it_is_forgotten",
    ),
)

OPERATORS = (
    _row("F104", "two operators press Retry", "", known="there is no such button, and no `retry`"),
    _row("F105", "the dashboard hangs", "", known="there is no dashboard in this version"),
    _row(
        "F106",
        "a flood from one producer",
        "so many a minute, as the route says",
        f"{U}test_agent_events.py::test_only_so_many_begin_within_a_minute",
        known="the log is not sampled",
    ),
)

WIRE = "tests/wire/test_wire.py"
# Where one process talks to another: what tests the orders in which their messages can come.
BORDERS = (
    _row(
        "agent and worker",
        "calls, proofs, ends, faults, cancellation, Ctrl-C and deaths in any order on the pipe",
        "every message reaches the call it belongs to; each call and each staging ends once",
        f"{WIRE}::test_schedules_with_few_odd_choices_are_right",
        f"{WIRE}::test_seeded_schedules_are_right",
        f"{WIRE}::test_a_fault_at_any_step_ends_with_its_reason",
        f"{WIRE}::test_removed_rule_is_noticed",
        f"{U}test_pipe.py::test_both_ends_may_send_more_than_the_buffers_hold_at_once",
        f"{U}test_pipe.py::test_a_worker_that_stops_in_the_middle_of_a_message_has_stalled",
        f"{U}test_pool.py::test_proofs_that_arrive_during_calls_are_not_lost",
        f"{A}test_many_objects.py::test_a_prefix_of_three_pages_arrives_in_a_directory_that_exists",
        SCHEDULES,
        known="the model has both real ends; threads and time in it are stand-ins",
    ),
    _row(
        "agent and `hadoop`",
        "the client of DistCp fails, hangs, is stopped, or outlives the agent, before or after "
        "it submitted",
        "its application is looked for by its tag: followed, or ended; never submitted twice",
        f"{U}test_hadoop_command.py::test_it_is_killed_when_waiting_raises",
        f"{U}test_hadoop_command.py::test_it_dies_with_the_agent",
        f"{U}test_cluster_attempt.py::test_a_client_that_fails_after_submitting_counts_as_submitted",
        f"{U}test_cluster_edges.py::test_a_client_that_is_stopped_after_submitting_is_looked_for",
        f"{U}test_cluster_edges.py::test_a_submission_whose_answer_is_lost_in_an_outage_is_looked_for",
        known="single orders, no schedules: the simulator has no YARN; `tests/yarn` kills the "
        "agent at random moments",
    ),
    _row(
        "agent and ledger",
        "a commit fails, is lost after it took effect, or its process is killed in it",
        "what was reported is kept; what is unknown is read again",
        POINTS,
        SCHEDULES,
        f"{U}test_ledger_crash.py::test_kill_9_at_any_moment_loses_nothing_that_was_reported",
        f"{U}test_ledger_faults.py::test_full_ledger_is_an_outage_and_goes_on_afterwards",
        known="the ledger is a file of this process; there is no server yet",
    ),
    _row(
        "worker and S3",
        "answers fail, are lost, cut, slow or wrong, for a listing or a body, at any call",
        "tried again or refused; nothing wrong is published",
        POINTS,
        SCHEDULES,
        f"{C}test_object_store.py::test_stalled_answer_ends_after_the_idle_timeout",
        f"{C}test_object_store.py::test_many_threads_share_a_reader",
        f"{LIES}::test_a_flipped_bit_is_never_published_and_ends_with_e_checksum",
        TORTURE,
        known="the schedules have one thread for each worker; many threads at once are real ones",
    ),
    _row(
        "worker and HDFS",
        "calls fail, take effect and lose their answer, or go on after their agent died",
        "staging of a lost epoch is fenced; both ends of an unknown rename are looked at",
        POINTS,
        SCHEDULES,
        f"{C}test_target.py::test_many_threads_make_the_same_directories",
        f"{A}test_killing.py::test_no_reader_ever_sees_a_part_of_a_tree_whenever_the_agent_is_killed",
        TORTURE,
    ),
)

SECTIONS = (
    ("The agent and its machine", AGENT),
    ("SQS", SQS),
    ("S3", S3),
    ("HDFS", HDFS),
    ("Operators", OPERATORS),
    ("Borders between processes", BORDERS),
)

NOT_HERE = (
    "YARN: `tests/yarn` has its own tests, and this page no rows.",
    (
        "With a ledger in a file an agent on another host counts as alive for ever: its transfers "
        "wait for it."
    ),
    (
        "PostgreSQL has a few rows here; `tests/acceptance/test_ledger_on_postgres.py` and "
        "`test_fleet.py` have the others."
    ),
)
