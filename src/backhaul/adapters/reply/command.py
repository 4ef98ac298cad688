"""Replies by a command: the reply as JSON on its standard input, its exit code counts.

How it is run, and what it inherits: `backhaul.child_process`.
"""

from __future__ import annotations

from collections.abc import Sequence

from backhaul.child_process import ProgramUser, run_program
from backhaul.core.errors import TransientError
from backhaul.core.replies.reply import Reply
from backhaul.core.replies.secret_values import SecretValues
from backhaul.core.text import shown


class CommandTarget:
    """Implements `core.ports.replies.ReplyTarget`.

    Args:
        limit_s: The command and all that it starts are killed then.
        user: Who it runs as; None: the agent's own user.
    """

    def __init__(
        self, name: str, command: Sequence[str], limit_s: float, user: ProgramUser | None = None
    ) -> None:
        self._name = name
        self._command = tuple(command)
        self._limit_s = limit_s
        self._user = user

    def deliver(self, reply: Reply) -> None:
        """See the port. Exit code 0: it has it.

        Raises:
            TransientError: E_REPLY_COMMAND: it cannot be started, or ends with another code.
                E_REPLY_TIMEOUT.
        """
        where = f"reply {self._name}: {shown(self._command[0])}"
        try:
            end = run_program(
                self._command,
                reply.body().encode("ascii") + b"\n",
                {
                    "BACKHAUL_REPLY_KEY": reply.key,
                    "BACKHAUL_REPLY_EVENT": reply.event.value,
                    "BACKHAUL_REPLY_NAME": self._name,
                },
                limit_s=self._limit_s,
                user=self._user,
            )
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise TransientError(
                "E_REPLY_COMMAND",
                f"{where} cannot be started: {reason}",
                hint="check the path, its mode, and the first line of a script",
            ) from exc
        said = SecretValues.of_program(self._command).hidden_in(end.last_words)
        words = f": {shown(said, 400)}" if said else ""
        if end.code is None:
            raise TransientError(
                "E_REPLY_TIMEOUT",
                f"{where} was killed: it ran for {self._limit_s:g} s{words}",
                hint="let the command only hand it on, or give this reply a longer timeout",
            )
        if end.code != 0:
            raise TransientError(
                "E_REPLY_COMMAND",
                f"{where} {end.how}{words}",
                hint=f"try it: backhaul replies test {self._name}, as the agent's user",
            )
