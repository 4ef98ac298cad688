"""SIGHUP reads the routes again: all that the file has now or, where one is wrong, none of it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backhaul.app.context import Context
from backhaul.app.hive import hive_tables
from backhaul.app.start import check_targets
from backhaul.core import facts
from backhaul.core.errors import BackhaulError, ConfigurationError
from backhaul.core.ports import Emit, Ports
from backhaul.core.replies.reply import HIVE
from backhaul.core.requests.policy import Policy
from backhaul.core.requests.policy import warnings as route_warnings
from backhaul.core.text import printable


class ConfigurationReload:
    """The configuration in force. A reload changes its routes and what they expect, nothing else.

    A transfer under way is judged by the routes in force when it publishes, as after a restart.

    Args:
        read: The context of the file as it is now, with the command line's own routes.
        check_sources: Raises ConfigurationError for a bucket's settings.
        adopt: Each is called with the new context, before any transfer is judged by it.
    """

    def __init__(
        self,
        context: Context,
        *,
        read: Callable[[], Context],
        check_sources: Callable[[Policy], None],
        adopt: Sequence[Callable[[Context], object]],
        ports: Ports,
        emit: Emit,
    ) -> None:
        self._context = context
        self._read = read
        self._check_sources = check_sources
        self._adopt = adopt
        self._ports = ports
        self._emit = emit
        self._turn = threading.Lock()
        self._wanted = threading.Event()

    @property
    def policy(self) -> Policy:
        """The routes in force."""
        return self._context.policy

    @property
    def pause_after(self) -> dict[str, int]:
        """How many deaths in a row pause a route, by its name; without those that none do."""
        return _pause_after(self._context)

    def request(self) -> None:
        """Reload soon. Requests during a reload are followed by one more.

        In a thread: a slow disk or target must not stop the main thread's heartbeat.
        """
        self._wanted.set()
        threading.Thread(target=self._serve, name="reload", daemon=True).start()

    def _serve(self) -> None:
        with self._turn:
            if self._wanted.is_set():
                self._wanted.clear()
                self.reload()

    def reload(self) -> None:
        """Read, check, put in force, and report what has changed."""
        before = self._context
        try:
            found = self._read()
            _refuse_what_takes_a_restart(before, found)
            self._check_sources(found.policy)
        except BackhaulError as error:
            self._emit(
                facts.ReloadRefused(code=error.code, reason=error.message, hint=error.hint or "")
            )
            return
        # The other settings stay: what was made of them at the start is in use.
        settings = before.settings.model_copy(update={"route": found.settings.route})
        after = dataclasses.replace(
            before, settings=settings, policy=found.policy, expectations=found.expectations
        )
        for adopt in self._adopt:
            adopt(after)
        self._context = after
        changes = _changes(before, found)
        if changes is None:
            return
        self._emit(changes)
        self._warn_of({*changes.added, *changes.changed})

    def _warn_of(self, names: set[str]) -> None:
        """Weak rules and targets that cannot be written, as at a start."""
        routes = tuple(route for route in self.policy.routes if route.name in names)
        for warning in route_warnings(Policy(routes=routes)):
            self._emit(warning)
        for route in routes:
            try:
                check_targets(Policy(routes=(route,)), self._ports)
            except BackhaulError as error:
                self._emit(
                    facts.RouteTargetWarned(
                        route=route.name, code=error.code, reason=error.message, hint=error.hint
                    )
                )


def _refuse_what_takes_a_restart(before: Context, found: Context) -> None:
    """Routes that would mean something else in this process than in one that starts now.

    Raises:
        ConfigurationError: E_CFG_RELOAD.
    """
    if found.default_fs != before.default_fs:
        raise ConfigurationError(
            "E_CFG_RELOAD",
            "Hadoop's default file system or nameservices have changed since the start",
            hint="restart the agent: systemctl restart backhaul",
        )
    if (before.settings.hive, hive_tables(before.settings)) != (
        found.settings.hive,
        hive_tables(found.settings),
    ):
        raise ConfigurationError(
            "E_CFG_RELOAD",
            "[hive], or hive of a route, has changed since the start",
            hint="restart the agent: systemctl restart backhaul",
        )
    # `hive` was compared above.
    made = {HIVE, *(one.name for one in before.settings.reply if one.marker is None)}
    made.update(wish.target for wish in before.settings.lineage.wishes)
    for one in found.policy.routes:
        other = [wish.target for wish in one.reply_wishes if wish.target not in made]
        if other:
            raise ConfigurationError(
                "E_CFG_RELOAD",
                f"route {printable(one.name, 80)} sends replies to"
                f" {printable(', '.join(other), 200)}, which is new",
                hint="restart the agent: systemctl restart backhaul",
            )
    known = set(_key_variables(before).values())
    for route, variable in _key_variables(found).items():
        if variable not in known:
            # The workers that run were started with it, as with any other variable.
            raise ConfigurationError(
                "E_CFG_RELOAD",
                f"route {printable(route, 80)} reads its key from the environment "
                f"({printable(variable, 80)}), which is read at a start",
                hint="restart the agent: systemctl restart backhaul",
            )


def _key_variables(context: Context) -> dict[str, str]:
    """Environment variables with keys of signatures, by route."""
    return {
        route.name: route.signature.key_env
        for route in context.settings.route
        if route.signature is not None and route.signature.key_env
    }


def _changes(before: Context, found: Context) -> facts.RoutesReloaded | None:
    """None: the file means what it meant."""
    old = {route.name: route for route in before.policy.routes}
    new = {route.name: route for route in found.policy.routes}
    other = {one.route for one in {*before.expectations} ^ {*found.expectations}}
    other |= {name for name, _ in _pause_after(before).items() ^ _pause_after(found).items()}
    other |= {one.route for one in {*before.settings.budgets} ^ {*found.settings.budgets}}
    changed = [name for name in new if name in old and (new[name] != old[name] or name in other)]
    is_order_other = [*old] != [*new] and {*old} == {*new}
    fact = facts.RoutesReloaded(
        added=tuple(name for name in new if name not in old),
        changed=tuple(changed or new if is_order_other else changed),
        removed=tuple(name for name in old if name not in new),
        needs_restart=tuple(_other_settings(before, found)),
    )
    is_same = not (fact.added or fact.changed or fact.removed or fact.needs_restart)
    return None if is_same else fact


def _pause_after(context: Context) -> dict[str, int]:
    return {one.name: one.pause_after for one in context.settings.route if one.pause_after}


def _other_settings(before: Context, found: Context) -> list[str]:
    """Names of settings with another value in the file than in force."""
    old, new = (_made_at_start(each) for each in (before, found))
    return sorted(_different(old, new))


def _made_at_start(context: Context) -> dict[str, Any]:
    """The settings without what is of the routes: their own, and what they take of `[[reply]]`."""
    values = context.settings.model_dump(exclude={"route", "reply"})
    of_routes = {"on", "held_after"}
    replies = [one for one in context.settings.reply if one.marker is None]
    return {**values, "reply": [one.model_dump(exclude=of_routes) for one in replies]}


def _different(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    names = []
    for name, value in new.items():
        former = old.get(name)
        if isinstance(value, Mapping) and isinstance(former, Mapping):
            names += _different(former, value, f"{prefix}{name}.")
        elif value != former:
            names.append(f"{prefix}{name}")
    return names
