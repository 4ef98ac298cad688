"""Which queues a command works or reads: QUEUE and REGION, or the `[[queue]]` of the file."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul.adapters.system.clock import SystemClock
from backhaul.core.agent.observing.queue_warnings import warnings
from backhaul.core.agent.polling.opening import OpenedByPoll
from backhaul.core.errors import BackhaulError, BadArgument, ConfigurationError
from backhaul.core.facts import QueueOpened
from backhaul.core.ports import Emit, QueueFacts
from backhaul.core.requests.queue_names import QueueName, parse_queue
from backhaul.core.text import printable
from backhaul.settings.load import find_config, load_part
from backhaul.settings.queue import QueueSettings, check_queues

if TYPE_CHECKING:
    from backhaul.adapters.aws.clients import AwsSession
    from backhaul.adapters.aws.sqs import SqsQueue

_NAMED_MOST = 10
MOST_SLOTS = 64


@dataclass(frozen=True, kw_only=True)
class ChosenQueue:
    """One queue, as it was written.

    Attributes:
        text: Its name, URL or ARN.
        label: What log, metrics and pages call it: its name, with the region where two of the
            file's queues have the same.
        role_arn: A role to be assumed for it; None: none.
        owner: Its account, where the name does not say so.
    """

    text: str
    region: str
    label: str
    role_arn: str | None = None
    external_id: str | None = None
    owner: str | None = None
    min_slots: int = 0

    @property
    def parsed(self) -> QueueName:
        """With its region and, if it is known, its account."""
        return parse_queue(self.text).with_known(region=self.region, account=self.owner)

    def session(self, conf_dir: Path | None) -> AwsSession:
        """The session whose credentials reach it; sends nothing.

        Args:
            conf_dir: Hadoop's configuration, whose keys count where AWS's chain has none.
        """
        from backhaul.adapters.aws.clients import AwsSession
        from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration

        load = S3aConfiguration.loader(conf_dir)
        return AwsSession(self.region, load, role=self.role_arn, external_id=self.external_id)


def configured_queues(settings: Sequence[QueueSettings]) -> tuple[ChosenQueue, ...]:
    """Those of the file, each with a label of its own; `check_queues` has accepted them."""
    return tuple(
        ChosenQueue(
            text=one.name,
            region=one.where,
            label=label,
            role_arn=one.role_arn,
            external_id=one.external_id,
            owner=one.parsed.account,
            min_slots=one.min_slots or 0,
        )
        for one, label in zip(settings, _labels([one.parsed for one in settings]), strict=True)
    )


def _labels(queues: Sequence[QueueName]) -> list[str]:
    """The shortest of name, name and region, and both with the account, that names one alone."""
    forms = [
        (one.name, f"{one.name}@{one.region}", f"{one.name}@{one.region}/{one.account}")
        for one in queues
    ]
    counts = Counter(form for every in forms for form in every)
    return [next((form for form in every if counts[form] == 1), every[-1]) for every in forms]


def queues_to_work(
    settings: Sequence[QueueSettings], queue: str | None, region: str | None
) -> tuple[ChosenQueue, ...]:
    """For `backhaul run`: the one that is named, or all of the file.

    Raises:
        BadArgument: E_QUEUE_NAME; E_QUEUE_WHICH: none is named and the file has none, or the one
            that is named is none of the file's.
    """
    every = configured_queues(settings)
    if queue is None:
        if every:
            return every
        raise BadArgument(
            "E_QUEUE_WHICH",
            "which queue? The configuration has no [[queue]]",
            hint="backhaul run QUEUE REGION; or write [[queue]] with name and region",
        )
    return (chosen_queue(settings, queue, region),)


def chosen_queue(settings: Sequence[QueueSettings], queue: str, region: str | None) -> ChosenQueue:
    """For a command that works or probes one queue.

    Args:
        queue: Name, URL, ARN, or the label of one of the file's.
        region: None: as the file has it.

    Raises:
        BadArgument: E_QUEUE_NAME; E_QUEUE_WHICH: it is not clear which one is meant, or it is none
            of the file's.
    """
    found = configured_queue(settings, queue, region)
    if found is not None:
        return found
    named = parse_queue(queue)
    where = region or named.region
    if settings:
        raise BadArgument(
            "E_QUEUE_WHICH",
            f"queue {printable(queue, 200)}{f' in {where}' if where else ''} is no [[queue]] of the"
            " configuration",
            hint=f"{_name_one_of(configured_queues(settings))}; or add it as a [[queue]], or remove"
            " all [[queue]] to name queues on the command line alone",
        )
    if where is None:
        raise BadArgument(
            "E_QUEUE_WHICH",
            f"queue {printable(queue, 200)} is in which region?",
            hint="write REGION after QUEUE, such as us-west-2",
        )
    return ChosenQueue(text=queue, region=where, label=named.name)


def queue_of_command(queue: str, region: str, config: Path | None = None) -> ChosenQueue:
    """For a command that sends or reads: with the role of the `[[queue]]` that it is, if it is one.

    A configuration that this user may not read, or whose `[[queue]]` have a fault, has no roles:
    whoever sends a message to a queue of the own account needs none.

    Args:
        config: None: the one that commands find by themselves.

    Raises:
        BadArgument: E_QUEUE_NAME; E_QUEUE_WHICH: it is several of them.
    """
    settings: Sequence[QueueSettings] = ()
    with suppress(ConfigurationError):
        found = load_part(find_config(config), ("queue",))[0].queue
        check_queues(found, MOST_SLOTS, None)
        settings = found
    one = configured_queue(settings, queue, region)
    return one or ChosenQueue(text=queue, region=region, label=queue)


def configured_queue(
    settings: Sequence[QueueSettings], queue: str, region: str | None
) -> ChosenQueue | None:
    """The `[[queue]]` that is meant; None: none of them.

    Args:
        region: None: any.

    Raises:
        BadArgument: E_QUEUE_NAME; E_QUEUE_WHICH: several are.
    """
    every = configured_queues(settings)
    labelled = [one for one in every if one.label == queue and region in {None, one.region}]
    if labelled or not every:
        return labelled[0] if labelled else None
    named = parse_queue(queue)
    if region is not None:
        named.check_region(region)
    wanted = named.with_known(region=region, account=None)
    found = [one for one in every if wanted.is_same(one.parsed)]
    if len(found) > 1:
        raise BadArgument(
            "E_QUEUE_WHICH",
            f"{printable(queue, 200)} is {len(found)} queues of the configuration",
            hint=_name_one_of(found),
        )
    return found[0] if found else None


def _name_one_of(queues: Sequence[ChosenQueue]) -> str:
    """As they can be typed: a label with its region is always exactly one."""
    shown = ", ".join(f"{printable(one.label, 120)} {one.region}" for one in queues[:_NAMED_MOST])
    return f"name one by QUEUE REGION: {shown}{', …' if len(queues) > _NAMED_MOST else ''}"


class AgentQueues:
    """The queues of one agent, opened at its start or, where that fails, by their polls.

    Args:
        session: The session of a queue.
    """

    def __init__(
        self,
        chosen: Sequence[ChosenQueue],
        session: Callable[[ChosenQueue], AwsSession],
        emit: Emit,
    ) -> None:
        self._session = session
        self._emit = emit
        self._lock = threading.Lock()
        self._open: dict[str, str] = {}  # by ARN, the label
        self._unsaid: list[object] | None = []  # facts until `announce`
        self.chosen = tuple(chosen)
        self.queues = tuple(
            OpenedByPoll(_named(one), lambda one=one: self._opened(one))  # type: ignore[misc]
            for one in chosen
        )

    def open(self) -> None:
        """Open all at once; one of several that cannot be opened now is tried again by its polls.

        Raises:
            BackhaulError: None could be opened, or two of them are the same queue.
        """
        if len(self.queues) == 1:
            self.queues[0].open()
            return
        with ThreadPoolExecutor(len(self.queues), thread_name_prefix="open") as threads:
            errors = [one for one in threads.map(_error_of, self.queues) if one is not None]
        for error in errors:
            if len(errors) == len(self.queues) or error.code == "E_CFG_QUEUE":
                raise error

    def announce(self) -> None:
        """Emit what the queues that are open have to say; of others, once they are."""
        with self._lock:
            unsaid, self._unsaid = self._unsaid or [], None
        for fact in unsaid:
            self._emit(fact)

    def _opened(self, one: ChosenQueue) -> SqsQueue:
        from backhaul.adapters.aws.sqs import SqsQueue

        aws = self._session(one)
        queue = SqsQueue.open(one.text, one.region, aws, SystemClock(), owner=one.owner)
        with self._lock:
            other = self._open.setdefault(queue.facts.arn, one.label)
        if other != one.label:
            raise ConfigurationError(
                "E_CFG_QUEUE",
                f"[[queue]] {one.label} and {other} are the same queue, {queue.facts.arn}",
                hint="remove one of the two",
            )
        found: list[object] = [*warnings(queue.facts)]
        if len(self.chosen) > 1:
            dead = queue.facts.dead_letter_name
            opened = QueueOpened(queue=one.label, region=one.region, dead_letter_queue=dead)
            found.insert(0, opened)
        self._say(found)
        return queue

    def _say(self, found: Sequence[object]) -> None:
        with self._lock:
            if self._unsaid is not None:
                self._unsaid += found
                return
        for fact in found:
            self._emit(fact)


def _named(one: ChosenQueue) -> QueueFacts:
    return QueueFacts(
        url="",
        name=one.parsed.name,
        arn=one.text,
        dead_letter_url=None,
        dead_letter_name=None,
        max_receive_count=None,
    )


def _error_of(queue: OpenedByPoll) -> BackhaulError | None:
    try:
        queue.open()
    except BackhaulError as error:
        return error
    return None
