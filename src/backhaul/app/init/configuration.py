"""The commented configuration file that `backhaul init` writes, and its check.

No text of a person goes into a comment: there nothing could be escaped.
"""

from __future__ import annotations

import json
import tomllib

from pydantic import ValidationError

from backhaul.app.init.answers import InitAnswers, refused
from backhaul.core.errors import ConfigurationError
from backhaul.core.file_systems import FileSystems
from backhaul.settings.model import Settings
from backhaul.settings.routes import make_routes

_HEAD = """\
# Configuration of Backhaul, as `backhaul init` wrote it. Change it freely: an unknown setting or an
# impossible value is refused, with its line. The manual has all settings.
"""
_LEDGER = """
# The file that remembers every transfer: what was copied, proven and published. On a local disk,
# not on NFS. `backhaul history` and the service must use the same one.
"""
_LEDGER_DEFAULT = """
# The file that remembers every transfer is ~/.local/state/backhaul/ledger.db, for a service the
# one in its state directory. To have it elsewhere, on a local disk, never on NFS:
# ledger = "/var/lib/backhaul/ledger.db"
"""
_ROUTE = """
# Nothing is accepted that no route allows. A message may name a source and a destination of the
# route, or anything below them.
[[route]]
"""
_SOURCE = """\
# Prefixes in S3. Each ends in "/", so that day=1/ does not match day=10/.
"""
_DESTINATION = """\
# The directory, and all below it. The agent's user must be able to write there.
"""
_QUEUES = """\
# Only messages of this queue. Without it, those of any queue that the agent works.
"""
_SENDERS = """\
# Who may send, by SQS SenderId; AWS sets it, and a sender cannot forge it.
"""
_ANY_SENDER = """\
# Whoever may send to the queue may use the route. To limit it to SQS SenderIds:
# senders = ["AIDA..."]
"""
_EVENTS = """\
# Where an event of the bucket brings its object: {rel_dir} is its directory below the source.
"""
_IGNORED = """\
# Events that bring nothing, such as S3's test event and removals, are deleted without an error.
"""
_OWNER = """\
# S3 refuses a bucket that belongs to another account.
"""
_REST = """\
# Files that exist: "replace", "same-ok" (fails unless the content is the same), or "fail".
on_exists = "replace"
# How much proof every file needs: "stored" compares what HDFS holds with S3's own checksum.
verify = "stored"
"""
_MORE = """
# More that is often wanted:
#
# [bandwidth]
# limit = "100MB/s"                              # over all transfers of this node
# windows = ["mon-fri 08:00-18:00 = 20MB/s"]     # another limit at these hours
#
# [metrics]
# listen = "127.0.0.1:9187"                      # for Prometheus
"""


def configuration_text(answers: InitAnswers) -> str:
    """TOML, with a comment above each setting."""
    parts = [_HEAD]
    parts.append(
        _LEDGER_DEFAULT if answers.ledger is None else _LEDGER + _line("ledger", answers.ledger)
    )
    parts += [_ROUTE, _line("name", answers.name)]
    parts += [_SOURCE, _line("source", [source.uri for source in answers.sources])]
    parts += [_DESTINATION, _line("destination", [answers.destination])]
    parts += [_QUEUES, _line("queues", [answers.queue])]
    if answers.sender_ids:
        parts += [_SENDERS, _line("senders", list(answers.sender_ids))]
    elif not answers.takes_events:
        parts.append(_ANY_SENDER)
    if answers.takes_events:
        template = f"{answers.destination}{{rel_dir}}/"
        parts += [_EVENTS, _line("event_destination", template)]
        parts += [_IGNORED, _line("event_other", "ignore")]
    if answers.source_owner is not None:
        parts += [_OWNER, _line("source_owner", answers.source_owner)]
    return "".join([*parts, _REST, _MORE])


def _line(name: str, value: str | list[str]) -> str:
    """JSON's strings are TOML's, with characters above ASCII as they are."""
    return f"{name} = {json.dumps(value, ensure_ascii=False)}\n"


def check_configuration(text: str, default_fs: FileSystems) -> None:
    """Read the text as every command will.

    Raises:
        BadArgument: E_INIT_ANSWER: the answers do not make a valid route.
    """
    try:
        settings = Settings(**tomllib.loads(text))
        make_routes(settings, None, default_fs)
    except ConfigurationError as error:
        message = error.message.removeprefix("None: ")
        raise refused(message, error.hint) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise refused(
            f"{where}: {first['msg']}", "change the answer, or write the file by hand"
        ) from error
