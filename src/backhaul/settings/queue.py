"""`[[queue]]`: the queues that one agent works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from backhaul.core.endpoints import is_region
from backhaul.core.errors import BackhaulError, ConfigurationError
from backhaul.core.requests.queue_names import QueueName, parse_queue
from backhaul.core.text import printable, shown
from backhaul.settings.base import StrictModel
from backhaul.settings.reply import ROLE_ARN


class QueueSettings(StrictModel):
    """One queue that `backhaul run` without arguments works."""

    name: str = Field(min_length=1, description="name, URL or ARN of the queue")
    region: str | None = Field(
        None, min_length=1, description="where it is, unless its URL or ARN says so"
    )
    role_arn: str | None = Field(
        None,
        pattern=ROLE_ARN,
        description="a role that the agent assumes for this queue, such as one of its account",
    )
    external_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_+=,.@:/-]{2,1224}$",
        description="what the role's trust policy wants as sts:ExternalId",
    )
    owner: str | None = Field(
        None,
        pattern=r"^[0-9]{12}$",
        description="account of a queue that is named by its name alone, where it is another's",
    )
    min_slots: int | None = Field(
        None, ge=1, le=64, description="slots of the agent that no other queue may take"
    )

    @property
    def where(self) -> str:
        """The region; `check_queues` has accepted these settings."""
        return self.region or parse_queue(self.name).region or ""

    @property
    def parsed(self) -> QueueName:
        """With everything that is known of it."""
        return parse_queue(self.name).with_known(region=self.region, account=self._account)

    @property
    def _account(self) -> str | None:
        """Whose it is where its name does not say so: the owner's, else that of the role."""
        return self.owner or (self.role_arn.split(":")[4] if self.role_arn else None)


def check_queues(queues: Sequence[QueueSettings], slots: int, path: Path | None) -> None:
    """Refuse queues that are there twice, and settings that contradict one another.

    Args:
        slots: Of the agent.

    Raises:
        ConfigurationError: E_CFG_QUEUE.
    """
    for one in queues:
        fault = _fault(one)
        if fault is not None:
            raise _refused(path, one.name, *fault)
    for number, one in enumerate(queues):
        for other in queues[:number]:
            if one.parsed.is_same(other.parsed):
                also = "" if one.name == other.name else f", as {printable(other.name, 200)}"
                raise _refused(
                    path,
                    one.name,
                    f"is there twice{also}, in {one.where}",
                    "remove one of the two; if they are of different accounts, name each by its"
                    " URL or ARN, or set owner",
                )
    kept = sum(one.min_slots or 0 for one in queues)
    if kept > slots:
        raise ConfigurationError(
            "E_CFG_QUEUE",
            f"{path or 'the configuration'}: min_slots of all [[queue]] are {kept} together, and"
            f" agent.slots is {slots}",
            hint="lower min_slots, or raise agent.slots",
        )


def check_bindings(
    bound: Sequence[tuple[str, Sequence[str]]], queues: Sequence[QueueSettings], path: Path | None
) -> None:
    """Refuse a route that is bound to a queue which is none of these, where there are any.

    Args:
        bound: Of each route that has `queues`: its name, and these.

    Raises:
        ConfigurationError: E_CFG_QUEUE.
    """
    if not queues:
        return
    for route, names in bound:
        for name in names:
            if not any(parse_queue(name).is_same(one.parsed) for one in queues):
                known = ", ".join(printable(one.name, 200) for one in queues[:10])
                raise ConfigurationError(
                    "E_CFG_QUEUE",
                    f"{path or 'the configuration'}: route {printable(route, 80)} is bound to queue"
                    f" {printable(name, 200)}, which no [[queue]] is",
                    hint=f"correct its queues, or add a [[queue]]; there are: {known}",
                )


_Fault = tuple[str, str]


def _fault(one: QueueSettings) -> _Fault | None:
    try:
        named = parse_queue(one.name)
    except BackhaulError as error:
        return f"is no queue: {error.message}", error.hint
    if one.region is not None and not is_region(one.region):
        return f"has region {shown(one.region, 60)}, which is no name of a region", (
            "write it as AWS does, such as us-west-2"
        )
    if one.region is None and named.region is None:
        return "has no region", 'add region = "us-west-2", the one where the queue is'
    if named.region not in {None, one.where}:
        return f"has region {one.region}, and is in {named.region}", "leave region out"
    if one.owner is not None and named.account not in {None, one.owner}:
        return f"has owner {one.owner}, and is of account {named.account}", "leave owner out"
    if one.external_id is not None and one.role_arn is None:
        return "has external_id, which goes with role_arn", "add role_arn, or leave it out"
    return None


def _refused(path: Path | None, name: str, what: str, hint: str) -> ConfigurationError:
    message = f"{path or 'the configuration'}: [[queue]] {printable(name, 200)} {what}"
    return ConfigurationError("E_CFG_QUEUE", message, hint=hint)
