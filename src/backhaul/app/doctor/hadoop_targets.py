"""Probes of what routes write to: each destination, as the route's user, by writing there."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.system.clock import SystemClock, host_name
from backhaul.app.context import Context
from backhaul.app.doctor import hadoop_kerberos, hadoop_network, mounted
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error
from backhaul.app.doctor.hadoop_faults import OF_ALL, as_property, fault_of
from backhaul.app.doctor.hadoop_network import Reach
from backhaul.app.doctor.hadoop_trial import (
    EPOCH,
    STALL_TIMEOUT_S,
    Noted,
    Trial,
    not_noted,
    root_name,
    try_place,
)
from backhaul.app.ports import login_of, make_pool
from backhaul.app.start import CLOCK_SKEW_MAX_S
from backhaul.core.errors import BackhaulError
from backhaul.core.model import Location, Route
from backhaul.core.ports import AbandonedStaging, TargetPool
from backhaul.core.text import printable

if TYPE_CHECKING:
    from backhaul.adapters.ledger import SqlLedger

OF_NO_TRANSFER = "doctor"  # in the place of a transfer's id
WRITE_FAILURES = frozenset({"E_HDFS_OVERLOADED", "E_TARGET_STALLED"})


def hdfs(context: DoctorContext) -> Iterator[Finding]:
    """Every HDFS destination."""
    yield from _all(context, "hdfs")


def files(context: DoctorContext) -> Iterator[Finding]:
    """Every destination that is mounted on this machine."""
    yield from _all(context, "file")


def _all(context: DoctorContext, scheme: str) -> Iterator[Finding]:
    loaded = context.loaded
    places = [
        (route, place)
        for route in context.routes
        for place in route.destinations or ()
        if place.scheme == scheme
    ]
    if loaded is None or not places:
        return
    with (
        closing(
            make_pool(loaded, lambda _fact: None, workers=1, stall_timeout_s=STALL_TIMEOUT_S)
        ) as pool,
        ledger_notes(loaded) as noted_for,
    ):
        yield from Places(loaded, pool, noted_for).probe(places)


class Places:
    """The destinations of one run; a file system that does not answer is tried once a user."""

    def __init__(
        self,
        loaded: Context,
        pool: TargetPool,
        noted_for: NotedFor,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._now_s = now_s
        self._loaded = loaded
        self._pool = pool
        self._noted_for = noted_for
        self._closed: dict[tuple[str, str | None], str] = {}
        self._seen: set[tuple[Location, str | None]] = set()
        self._looked: set[str] = set()

    def probe(self, places: Sequence[tuple[Route, Location]]) -> Iterator[Finding]:
        for route, place in places:
            who = (place.filesystem, route.run_as)
            if (place, route.run_as) in self._seen:
                continue  # of another route of the same user
            self._seen.add((place, route.run_as))
            if (why := self._closed.get(who)) is not None:
                text = f"not tried: {why}"
                yield Finding(
                    f"{_kind(place)}.write", _shown(place), State.SKIPPED, text, route=route.name
                )
                continue
            yield from self._one(route, place)
            if place.scheme == "hdfs" and place.filesystem not in self._looked:
                self._looked.add(place.filesystem)
                yield from _standbys(self._loaded, place.filesystem)

    def _one(self, route: Route, place: Location) -> Iterator[Finding]:
        loaded = self._loaded
        if place.scheme == "file":
            yield from mounted.missing_mount(place, route.name)
        settings = loaded.settings
        trial = try_place(
            self._pool,
            place,
            route.run_as,
            root_name(host_name(), str(settings.ledger_place), route.name),
            noted=self._noted_for(route),
            examine=partial(_examined, loaded, place),
            now_s=self._now_s,
        )
        if trial.error is not None:
            found = _failed(loaded, route, place, trial, trial.error)
            if trial.error.code in OF_ALL:
                self._closed[place.filesystem, route.run_as] = f"see {found.check} above"
                self._looked.add(place.filesystem)
            yield found
            return
        yield _written(route, place, trial)
        yield from _notes(route, place, trial)
        if place.scheme == "file":
            yield from mounted.room(trial.existing or place, route.name)
            yield from mounted.not_there(place, trial.existing or place, route.name)


# ---------------------------------------------------------------- what a trial has shown


def _written(route: Route, place: Location, trial: Trial) -> Finding:
    stored = trial.stored
    source = stored.checksum_source if stored is not None else ""
    compared = {
        "datanode": "its checksum came from the DataNode",
        "command": "its checksum came from the `hdfs` command",
    }.get(source, "it was read back for its checksum")
    user = f" as {route.run_as}" if route.run_as else ""
    text = f"wrote, closed, renamed and removed a file{user}; {compared}"
    if trial.existing is not None and trial.existing != place:
        text += f"; the directory itself will be made in {printable(trial.existing.path)}"
    return Finding(f"{_kind(place)}.write", _shown(place), State.OK, text, route=route.name)


def _notes(route: Route, place: Location, trial: Trial) -> Iterator[Finding]:
    """Of what works, and should be known."""
    if abs(trial.ahead_s) > CLOCK_SKEW_MAX_S:
        way = "ahead of" if trial.ahead_s > 0 else "behind"
        yield Finding(
            f"{_kind(place)}.clock",
            place.filesystem,
            State.WARNING,
            f"its clock is {abs(trial.ahead_s):.0f} s {way} this machine's, by the time of a file",
            "W_CLOCK",
            (
                "chronyc tracking; timedatectl    # here, and on the NameNode or file server",
                "timedatectl set-ntp true && chronyc makestep    # on the one that is off",
            ),
            route.name,
        )
    coding = trial.given.erasure_coding if trial.given is not None else None
    if coding:
        yield Finding(
            "hdfs.erasure_coding",
            _shown(place),
            State.OK,
            f"files here are erasure-coded by {coding}",
            route=route.name,
        )


def _failed(
    loaded: Context, route: Route, place: Location, trial: Trial, error: BackhaulError
) -> Finding:
    """The one finding of a trial that ended, by its cause."""
    subject = _shown(place)
    check, fix = fault_of(error, place.scheme, place.path)
    text = error.message
    if trial.step not in {"", "reach it"}:
        text = f"could not {trial.step}: {text}"
    if error.code == "E_HDFS_KERBEROS":
        login = login_of(loaded.settings)
        why = hadoop_kerberos.diagnose(login, error.message)
        check, text, fix = why.check, f"{why.text} ({_brief(error.message)})", why.fix
    elif error.code == "E_HDFS_PROXY":
        fix = _proxy_fix(loaded, route)
    elif error.code in {"E_HDFS_UNREACHABLE", "E_HDFS_STANDBY"}:
        text, fix = _of_namenodes(loaded, place, text, fix)
    if trial.diagnosis:
        check, text, fix = "hdfs.datanode", f"{text}; {trial.diagnosis[0]}", trial.diagnosis[1:]
    elif error.code == "E_DST_FULL":
        check, fix = mounted.full(trial.existing or place)
    found = from_error(check, subject, error, fix=fix, route=route.name)
    return dataclasses.replace(found, text=text)


def _brief(message: str) -> str:
    """The library's own sentence, behind its numbers."""
    for mark in ("may provide more information: ", "inaccessible: ", '", "', ', "'):
        message = message.rsplit(mark, 1)[-1]
    return printable(message, 200)


def _of_namenodes(
    loaded: Context, place: Location, text: str, fix: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    looked = hadoop_network.look_at_all(loaded.hadoop, place.filesystem)
    silent = [one for one in looked if one.reach is not Reach.ANSWERS]
    if not silent:
        return text, fix
    words = "; ".join(f"NameNode {one.address}: {one.why}" for one in silent)
    return words, tuple(hadoop_network.namenode_fixes(loaded.hadoop, place.filesystem, silent))


def _standbys(loaded: Context, filesystem: str) -> Iterator[Finding]:
    """Those of a pair that do not answer: today nothing is wrong, and a failover would fail."""
    looked = hadoop_network.look_at_all(loaded.hadoop, filesystem)
    for one in looked:
        if one.reach is Reach.ANSWERS or len(looked) == 1:
            continue
        text = f"NameNode {one.address}: {one.why}; another one serves, and no failover is possible"
        fix = tuple(hadoop_network.namenode_fixes(loaded.hadoop, filesystem, [one]))
        yield Finding("hdfs.namenode", filesystem, State.WARNING, text, fix=fix)


def _proxy_fix(loaded: Context, route: Route) -> tuple[str, ...]:
    principal = login_of(loaded.settings).principal or "AGENT"
    agent = principal.partition("@")[0].partition("/")[0]
    return (
        "core-site.xml of each NameNode:",
        as_property(f"hadoop.proxyuser.{agent}.users", str(route.run_as)),
        as_property(f"hadoop.proxyuser.{agent}.hosts", host_name()),
        "hdfs dfsadmin -refreshSuperUserGroupsConfiguration    # as the superuser",
    )


def _examined(loaded: Context, place: Location, trial: Trial) -> tuple[str, ...]:
    """A closer look at DataNodes where a file could not be written: words, then the fix."""
    error, file = trial.error, trial.file
    if place.scheme != "hdfs" or error is None or file is None:
        return ()
    if error.code not in WRITE_FAILURES or not trial.step.startswith("write"):
        return ()
    cluster = HdfsCluster(place.filesystem, loaded.hadoop, login_of(loaded.settings))
    found = hadoop_network.holders(cluster, [file.path])
    words, lines = hadoop_network.datanode_fixes(
        found, is_by_name=cluster.reaches_datanodes_by_name
    )
    return (words or "no DataNode takes it", *lines)


def _kind(place: Location) -> str:
    return "hdfs" if place.scheme == "hdfs" else "target"


def _shown(place: Location) -> str:
    return printable(place.uri, 1000)


# ---------------------------------------------------------------- the ledger

NotedFor = Callable[[Route], Noted]


@contextmanager
def ledger_notes(loaded: Context) -> Iterator[NotedFor]:
    """What has the ledger remember a route's staging root for as long as a trial uses it.

    Where the ledger is not there yet, or cannot be written, nothing remembers it: probes of the
    ledger itself have what is wrong with it.
    """
    from backhaul.adapters.ledger import open_ledger

    with contextlib.ExitStack() as opened:
        ledger = None
        with contextlib.suppress(BackhaulError, OSError):
            ledger = open_ledger(
                loaded.settings.ledger_place, create=False, host=host_name(), migrates=False
            )
            opened.callback(ledger.close)
        if ledger is None:
            yield lambda _route: not_noted
            return
        yield lambda route: partial(_noted, ledger, route.name)


@contextmanager
def _noted(ledger: SqlLedger, route: str, root: Location) -> Iterator[None]:
    left = AbandonedStaging(transfer_id=OF_NO_TRANSFER, staging_root=root, epoch=EPOCH, route=route)
    with contextlib.suppress(BackhaulError):
        ledger.note_own_staging(left, SystemClock().now())
    yield
    # Not after a failure: something may be left, and a sweep will look.
    with contextlib.suppress(BackhaulError):
        ledger.forget_staging([left])


HDFS_PROBES = (hdfs,)
FILE_PROBES = (files,)
