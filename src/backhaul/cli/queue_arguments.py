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


def _refuse_swapped(ctx: click.Context, param: click.Parameter, value: str) -> str:
    queue = ctx.params.get("queue") or ""
    if _REGION.fullmatch(queue) and not _REGION.fullmatch(value) and not ctx.resilient_parsing:
        raise click.BadParameter(
            f"{value!r} is no region, and QUEUE {queue!r} is one. Did you swap them?", ctx, param
        )
    return value
