"""`budget` of a route, or of all of them: how much may leave S3 in a day or a month."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from backhaul.core.cost.budget import USD, BudgetPer, BudgetUnit, EgressBudget
from backhaul.settings.base import StrictModel
from backhaul.settings.sizes import parse_size

_LARGEST_USD = 1_000_000_000
NOTHING = (
    "with a budget of 0 nothing may leave S3, and messages would die in the queue: stop the route"
    " with backhaul pause ROUTE, or leave budget out for no limit"
)


class BudgetSettings(StrictModel):
    """How much may leave S3 in a period; after that transfers wait for the next one."""

    usd: float | None = Field(
        None, le=_LARGEST_USD, description="US dollars, by the prices of [cost]; such as 500"
    )
    bytes: Annotated[int | None, BeforeValidator(parse_size)] = Field(
        None, description="or bytes, whatever they cost: a number, or such as 5TiB"
    )
    per: BudgetPer = Field(description="`day` or `month`, of UTC")

    @field_validator("usd", "bytes")
    @classmethod
    def _is_something(cls, amount: float | None) -> float | None:
        if amount is not None and not amount >= 0:
            raise ValueError("a budget is an amount above 0")
        if amount is not None and amount * (1 if isinstance(amount, int) else USD) < 1:
            raise ValueError(NOTHING)
        return amount

    @model_validator(mode="before")
    @classmethod
    def _is_a_table(cls, given: object) -> object:
        if isinstance(given, str | int | float):
            raise ValueError(  # noqa: TRY004 - pydantic takes no TypeError
                'write a table, such as { usd = 500, per = "month" } or'
                ' { bytes = "5TiB", per = "day" }'
            )
        return given

    @model_validator(mode="after")
    def _counts_one_thing(self) -> Self:
        if (self.usd is None) is (self.bytes is None):
            raise ValueError('write either usd or bytes, such as { usd = 500, per = "month" }')
        return self

    def budget(self, route: str) -> EgressBudget:
        """As the core decides by it."""
        amount = self.bytes
        unit = BudgetUnit.BYTES
        if self.usd is not None:
            amount, unit = round(self.usd * USD), BudgetUnit.USD
        return EgressBudget(route=route, unit=unit, amount=amount or 1, per=self.per)
