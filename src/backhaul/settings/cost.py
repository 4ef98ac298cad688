"""`[cost]`: what bytes cost that leave S3."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from backhaul.core.cost.prices import (
    DIRECT_CONNECT,
    INTERNET,
    TB,
    ZERO,
    EgressPrice,
    PriceTier,
)
from backhaul.settings.base import StrictModel

USD_MOST = 100  # per GB: more is a slip
SOURCE = "[cost] egress_usd_per_gb"


class CostPath(StrEnum):
    """The way that bytes take out of AWS."""

    INTERNET = "internet"
    DIRECT_CONNECT = "direct_connect"
    ZERO = "zero"


class TierSettings(StrictModel):
    """One step of the price table, over the bytes of a calendar month."""

    up_to_tb: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="where this step ends, counted from the beginning of the month; "
        "of the last step unset: it has no end",
    )
    usd: float = Field(
        ge=0, le=USD_MOST, allow_inf_nan=False, description="dollars for each GB of this step"
    )


def parse_steps(value: object) -> object:
    """A number is a table of one step; pydantic checks the steps.

    Raises:
        ValueError: Neither a number nor a list.
    """
    if value is None or isinstance(value, list):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [{"usd": value}]
    raise ValueError(
        "write dollars per GB, such as 0.09, or steps, such as"
        " [{ up_to_tb = 10, usd = 0.09 }, { usd = 0.085 }]"
    )


_Steps = BeforeValidator(parse_steps, json_schema_input_type=float | list[TierSettings] | None)


class CostSection(StrictModel):
    """What bytes cost that leave S3; nothing is billed, so only what is shown depends on it."""

    egress_usd_per_gb: Annotated[list[TierSettings] | None, _Steps] = Field(
        None,
        description="dollars per GB, or steps of {up_to_tb, usd}; unset: AWS's list price",
    )
    path: CostPath = Field(
        CostPath.INTERNET,
        description="internet or direct_connect, whose list prices differ; zero: egress is free",
    )

    @model_validator(mode="after")
    def _check(self) -> CostSection:
        if self.egress_usd_per_gb is not None:
            if self.path is CostPath.ZERO:
                raise ValueError("path = 'zero' costs nothing: leave egress_usd_per_gb out")
            _check_steps(self.egress_usd_per_gb)
        return self

    @property
    def price(self) -> EgressPrice:
        """What counts."""
        steps = self.egress_usd_per_gb
        if steps is not None:
            return EgressPrice(tiers=tuple(_tier(step) for step in steps), source=SOURCE)
        of_path = {
            CostPath.INTERNET: INTERNET,
            CostPath.DIRECT_CONNECT: DIRECT_CONNECT,
            CostPath.ZERO: ZERO,
        }
        return of_path[self.path]


def _check_steps(steps: Sequence[TierSettings]) -> None:
    ends = [step.up_to_tb for step in steps]
    if not ends or ends[-1] is not None:
        raise ValueError("the last step of egress_usd_per_gb has no up_to_tb: add { usd = … }")
    before = 0.0
    for end in ends[:-1]:
        if end is None:
            raise ValueError("only the last step of egress_usd_per_gb may lack up_to_tb")
        if end <= before:
            raise ValueError(
                f"up_to_tb = {end:g} after {before:g}: each step of egress_usd_per_gb ends"
                " later in the month's bytes than the one before it"
            )
        before = end


def _tier(step: TierSettings) -> PriceTier:
    end = None if step.up_to_tb is None else int(_exact(step.up_to_tb) * TB)
    return PriceTier(up_to_bytes=end, usd_per_gb=_exact(step.usd))


def _exact(value: float) -> Fraction:
    """The number as it was written: 0.09 is 9/100."""
    return Fraction(Decimal(repr(value)))
