"""What went wrong, by the words of beeline, impala-shell and the servers behind them."""

from __future__ import annotations

import re
from collections.abc import Callable

from backhaul.core.errors import BackhaulError, PermanentError, TransientError
from backhaul.core.text import printable, redacted

_WORDS = 300  # characters of theirs, in an error
_ASKS = re.compile(r"\benter (?:password|username) for\b|\bpassword for user\b", re.IGNORECASE)
_LOGIN = re.compile(
    r"error validating the login|invalid (?:username|user name|password|credentials)"
    r"|authentication (?:failed|error)|gss initiate failed|peer indicated failure"
    r"|unsupported mechanism|not authorized to connect",
    re.IGNORECASE,
)
_CONNECT = re.compile(
    r"could not (?:open|establish) (?:client transport|connection)|no current connection"
    r"|unknown host|error connecting|not connected to impala|could not connect to",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"HiveAccessControlException|AuthorizationException|AccessControlException"
    r"|permission denied|does not have (?:the following )?privilege|HiveAuthzPluginException",
    re.IGNORECASE,
)
_NO_DATABASE = re.compile(r"\[Error 10072\]|database does not exist", re.IGNORECASE)
_NO_TABLE = re.compile(r"\[Error 10001\]|table not found|table does not exist", re.IGNORECASE)
_BAD_VALUE = re.compile(
    r"\[Error 10248\]|cannot add partition column|incompatible type|invalid partition spec",
    re.IGNORECASE,
)
_LINE = re.compile(
    r"^(?!SLF4J|\s+at ).*?(?:error|exception|failed).*$", re.IGNORECASE | re.MULTILINE
)


def fault(words: str, how: str, where: str, hidden_in: Callable[[str], str] = str) -> BackhaulError:
    """The error for a run that did not do what it was to do.

    Args:
        words: The end of what the shell printed.
        how: It ended, such as `ended with 2`.
        where: What it is about, such as `lake.sales`.
        hidden_in: Takes out of its words the secrets that the shell was given.

    Returns:
        TransientError; PermanentError of what is wrong with one table or one path, so that no other
        table's replies wait for it.
    """
    if _ASKS.search(words):
        return TransientError(
            "E_HIVE_LOGIN",
            f"{where}: the shell asks for a user or a password, which no agent types",
            hint="let it read the password: beeline -n USER -w FILE, impala-shell"
            " --ldap_password_cmd, in [hive] command",
        )
    for pattern, kind, code, what, hint in _CAUSES:
        if pattern.search(words):
            return kind(code, f"{where}: {what}: {_said(words, hidden_in)}", hint=hint)
    return TransientError(
        "E_HIVE_STATEMENT",
        f"{where}: the shell {how}: {_said(words, hidden_in)}",
        hint="backhaul replies test hive shows whether it is well; look at HiveServer2's log",
    )


def _said(words: str, hidden_in: Callable[[str], str]) -> str:
    """The line that has the cause; the stack trace below it has not."""
    words = hidden_in(words)
    match = _LINE.search(words)
    text = redacted(match[0] if match else words)
    text = " ".join(text.split())
    return printable(text[:_WORDS] if match else text[-_WORDS:], _WORDS) or "it printed nothing"


_CAUSES: tuple[tuple[re.Pattern[str], type[BackhaulError], str, str, str], ...] = (
    (
        _LOGIN,
        TransientError,
        "E_HIVE_LOGIN",
        "the server lets this user not in",
        "check user, password file, principal and ticket in [hive] command",
    ),
    (
        _CONNECT,
        TransientError,
        "E_HIVE_CONNECT",
        "no connection",
        "check that the server runs, and its address in [hive] command; it is tried again",
    ),
    (
        _DENIED,
        TransientError,
        "E_HIVE_PERMISSION",
        "the server refuses it",
        "grant this user ALTER and SELECT on the table, and let Hive's user read the directory",
    ),
    (
        _NO_DATABASE,
        PermanentError,
        "E_HIVE_DATABASE",
        "there is no such database",
        "create it, or correct hive.database of the route; then: backhaul replies resend",
    ),
    (
        _NO_TABLE,
        PermanentError,
        "E_HIVE_TABLE",
        "there is no such table",
        "create it, or correct hive.table of the route; then: backhaul replies resend",
    ),
    (
        _BAD_VALUE,
        PermanentError,
        "E_HIVE_VALUE",
        "the value is none of the column's type",
        "rename the directory in S3 and send it again, or change the column's type",
    ),
)
