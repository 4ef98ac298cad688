"""QUEUE and REGION, for every command that takes both."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")


def queue_arguments(command: Callable[..., Any]) -> Any:
    """The command takes `queue` and `region`; in the wrong order they are refused."""
    region = click.argument("region", callback=_refuse_swapped)
    return click.argument("queue")(region(command))


def queue_arguments_or_none(command: Callable[..., Any]) -> Any:
    """The same for a command that does without: `queue` and `region` may be None."""
    region = click.argument("region", required=False, callback=_refuse_swapped)
    return click.argument("queue", required=False)(region(command))


def _refuse_swapped(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    queue = ctx.params.get("queue") or ""
    is_other = value is not None and not _REGION.fullmatch(value)
    if _REGION.fullmatch(queue) and is_other and not ctx.resilient_parsing:
        raise click.BadParameter(
            f"{value!r} is no region, and QUEUE {queue!r} is one. Did you swap them?", ctx, param
        )
    return value
