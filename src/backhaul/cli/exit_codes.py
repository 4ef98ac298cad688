"""Exit codes of each command, for the last lines of its help and for its man page.

Every command may also end with 64 (the command line is wrong), 70 (a defect) and 130 (interrupted);
`core.errors.ExitCode` has all of them.
"""

from __future__ import annotations

_LEDGER = {69: "the ledger is locked or cannot be read", 78: "configuration, or no ledger"}
_REPLIES = {
    0: "done",
    65: "no such reply",
    69: "the ledger cannot be written",
    78: "configuration",
}
_READS = {69: "the ledger is locked or cannot be read", 78: "configuration"}
_SQS = {69: "SQS is unavailable", 77: "AWS refuses", 78: "configuration, or no dead-letter queue"}

EXIT_CODES: dict[str, dict[int, str]] = {
    "init": {
        0: "written",
        64: "an answer is missing or wrong",
        69: "a file cannot be made",
        73: "a file exists, and none is replaced",
        78: "the environment is wrong",
    },
    "run": {
        0: "stopped, or the queue is drained",
        69: "SQS cannot be reached at the start, or a dependency stayed down (drain)",
        75: "the ledger is in use",
        77: "AWS refuses",
        78: "configuration",
    },
    "send": {
        0: "sent",
        65: "the message is not valid",
        69: "SQS is unavailable",
        77: "AWS refuses",
        78: "configuration",
    },
    "copy": {
        0: "copied and proven, or there already",
        65: "bad input",
        69: "unavailable",
        73: "the target refuses the write",
        75: "the destination or the ledger is in use",
        77: "not allowed",
        78: "configuration",
    },
    "explain": {
        0: "it would be carried out or ignored",
        65: "bad message or source",
        69: "S3 or the target is unavailable",
        73: "the target refuses the write",
        77: "the policy refuses it",
        78: "configuration",
    },
    "doctor": {
        0: "all that matters is well",
        69: "something does not answer",
        77: "something is not allowed",
        78: "something is configured wrongly",
    },
    "config": {0: "no fault", 78: "a fault"},
    "status": {0: "shown, whatever the health is", **_READS},
    "top": {0: "ended by q or Ctrl-C", **_READS},
    "check": {
        0: "OK",
        1: "WARNING",
        2: "CRITICAL",
        3: "UNKNOWN: the ledger cannot be read",
    },
    "expectations": {0: "nothing is missing", 65: "expected data is missing", **_LEDGER},
    "history": {0: "shown, also an empty list", **_READS},
    "show": {0: "shown", 65: "no such transfer", **_LEDGER},
    "arrived": {
        0: "all of it is there",
        65: "something is missing, or the ledger knows nothing of the place",
        **_LEDGER,
    },
    "where": {0: "found", 65: "the ledger knows nothing of it", **_LEDGER},
    "cancel": {
        0: "cancelled",
        65: "no such transfer, or it has ended",
        69: "the ledger or YARN is unavailable",
        75: "it is being published",
        78: "configuration, or no ledger",
    },
    "limit": {0: "shown or changed", 78: "configuration"},
    "pause": {0: "paused", 64: "no such route", **_LEDGER},
    "resume": {0: "resumed", 64: "no such route", **_LEDGER},
    "budget": {0: "done", 64: "no such budget, or no amount", **_LEDGER},
    "budget show": {0: "shown, also an empty list", **_READS},
    "budget raise": {0: "raised", 64: "no such budget, or no amount", **_LEDGER},
    "retry": {
        0: "all were sent, or there was nothing to send",
        65: "some were not, with the reasons",
        69: "SQS or the ledger is unavailable",
        77: "AWS refuses",
        78: "configuration, or no ledger",
        130: "declined or interrupted",
    },
    "dlq": {0: "done", 65: "no such dead letter", **_SQS},
    "dlq list": {0: "listed, also an empty list", **_SQS},
    "dlq show": {0: "shown", 65: "no such dead letter, or several", **_SQS},
    "dlq redrive": {
        0: "all were sent, or nothing matches",
        65: "one is not there, or only the beginning of its body is left",
        **_SQS,
        130: "declined or interrupted",
    },
    "dlq delete": {
        0: "deleted, or nothing matches",
        65: "one is not there",
        **_SQS,
        130: "declined or interrupted",
    },
    "ledger": {0: "done", 65: "findings", **_LEDGER},
    "ledger check": {0: "sound", 65: "findings", **_LEDGER},
    "ledger migrate": {
        0: "migrated, or nothing was to be done",
        69: "the ledger is locked or cannot be read",
        75: "an agent or command works on it",
        78: "configuration, or no ledger",
    },
    "ledger backup": {
        0: "copied",
        65: "the copy is not sound",
        69: "the ledger cannot be read",
        73: "the file exists, or cannot be written",
        75: "another backup writes the same file",
        78: "configuration, or no ledger",
    },
    "ledger copy": {
        0: "copied, or an earlier copy is there",
        64: "the database has other records",
        69: "a ledger cannot be reached",
        75: "an agent or a command works on one of the two",
        78: "configuration, or no ledger",
    },
    "ledger prune": {
        0: "dropped, or nothing is that old",
        **_LEDGER,
        130: "declined or interrupted",
    },
    "agents": {0: "shown, also an empty list", **_READS},
    "journal": {0: "shown, also an empty list", **_READS},
    "report": {0: "shown, also an empty one", **_READS},
    "dashboard": {
        0: "stopped",
        69: "the port is taken",
        78: "the address, the certificate or the token's file cannot be used",
    },
    "notify": {0: "done", 69: "a test message was not delivered", 78: "configuration"},
    "notify test": {0: "delivered", 69: "one was not delivered", 78: "configuration"},
    "notify list": {0: "listed", **_LEDGER},
    "replies": {0: "done", 65: "refused for good", 69: "not delivered", 78: "configuration"},
    "replies list": {0: "listed", **_LEDGER},
    "replies drop": _REPLIES,
    "replies resend": _REPLIES,
    "replies test": {
        0: "delivered, or nothing was to be sent",
        64: "no such reply",
        65: "refused for good",
        69: "not delivered; it may be later",
        78: "configuration",
    },
    "reconcile": {
        0: "nothing found",
        65: "findings",
        69: "S3, the ledger or the target cannot be read",
        78: "configuration",
    },
    "verify": {
        0: "everything is as it was proven",
        65: "something is not",
        69: "the target or the ledger is unavailable",
        78: "configuration",
    },
    "receipt": {0: "done, or true", 65: "not true", 69: "S3 is unavailable", 78: "configuration"},
    "receipt issue": {0: "written", 65: "no such transfer, or it is not done", **_LEDGER},
    "receipt verify": {
        0: "all is as it was signed",
        65: "it is not",
        69: "S3 could not be queried",
        78: "configuration",
    },
    "receipt key": {
        0: "done",
        65: "no such key",
        69: "a file cannot be written",
        78: "configuration",
    },
    "demo": {0: "every file is byte-identical", 69: "a server did not start", 70: "a file differs"},
}


def epilog(words: str) -> str | None:
    """The last paragraph of the help of a command, such as `dlq list`; None: it has no row."""
    codes = EXIT_CODES.get(words)
    if codes is None:
        return None
    return "Exit codes: " + ", ".join(f"{code} {means}" for code, means in codes.items()) + "."
