"""Objects of one plan by their keys.

Objects have no index but their position in the plan. A plan is in byte order of its keys, as S3
lists them, so a key is found in it by halving, however large it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.paths.packed import LAST_CHARACTER
from backhaul.adapters.ledger.reading.evidence import (
    EvidenceRow,
    find,
    objects_of,
)
from backhaul.adapters.ledger.schema import objects
from backhaul.adapters.ledger.session import ReadSession

OBJECTS_AT_ONCE = 10_000  # as many as `listing.ORDER_RELIED_AFTER`
_KEY = select(objects.c.key).where(
    objects.c.transfer_id == bindparam("of_transfer"), objects.c.seq == bindparam("of_seq")
)


@dataclass(frozen=True, kw_only=True)
class TextRange:
    """Texts from `low` on and before `high`, in the order of their UTF-8 bytes."""

    low: str
    high: str

    @classmethod
    def beginning(cls, prefix: str) -> TextRange:
        """All texts that begin so."""
        return cls(low=prefix, high=prefix + LAST_CHARACTER)

    @classmethod
    def of(cls, text: str) -> TextRange:
        """This text alone: none has a control character, and PostgreSQL takes no U+0000."""
        return cls(low=text, high=text + "\1")

    @property
    def is_of_one(self) -> bool:
        return self == TextRange.of(self.low)


@dataclass(frozen=True, kw_only=True)
class ObjectSpan:
    """Objects of one plan whose keys are in a range.

    Attributes:
        first: Position of the first one.
        size_bytes: None: there are too many to add up.
    """

    first: int
    objects: int
    size_bytes: int | None


class PlanSearchReader(ReadSession):
    """What is looked for in a plan.

    Raises (any method):
        OutageError: `ledger`: locked too long or an I/O error.
        EditedLedger: E_LEDGER_CORRUPT: a row that Backhaul did not write.
    """

    def objects_in(
        self, transfer_id: str, planned: int, ranges: Sequence[TextRange]
    ) -> tuple[TextRange, ObjectSpan] | None:
        """The first of these ranges that has keys of the plan, with its objects; None: none has.

        Args:
            planned: So many objects the plan has.
        """
        if planned <= OBJECTS_AT_ONCE or not ranges:
            return self._first(ranges, lambda one: self._summed(transfer_id, -1, one)[0])
        spans = [(one, self._halved(transfer_id, planned, one)) for one in ranges]
        for wanted, span in spans:
            if span is None or not wanted.is_of_one:
                continue
            if self._key_at(transfer_id, span.first) == wanted.low:
                return wanted, span
        if self._is_ordered(transfer_id):
            return next(((one, span) for one, span in spans if span is not None), None)
        return self._first(ranges, lambda one: self._searched(transfer_id, one))

    @staticmethod
    def _first(
        ranges: Sequence[TextRange], look: Callable[[TextRange], ObjectSpan | None]
    ) -> tuple[TextRange, ObjectSpan] | None:
        for one in ranges:
            if (span := look(one)) is not None:
                return one, span
        return None

    def _halved(self, transfer_id: str, planned: int, wanted: TextRange) -> ObjectSpan | None:
        """Right in a plan that is in the order of its keys."""
        first = self._position(transfer_id, planned, wanted.low)
        end = self._position(transfer_id, planned, wanted.high)
        if end <= first:
            return None
        return ObjectSpan(first=first, objects=end - first, size_bytes=None)

    def _position(self, transfer_id: str, planned: int, key: str) -> int:
        """Of the first object whose key is not before this one; `planned` where there is none."""
        low, high = 0, planned
        with self._transaction("the objects of a transfer") as tx:
            while low < high:
                middle = (low + high) // 2
                at = {"of_transfer": transfer_id, "of_seq": middle}
                found = rows.text(tx.execute(_KEY, at).scalar())
                if found is not None and found < key:
                    low = middle + 1
                else:
                    high = middle
        return low

    def _key_at(self, transfer_id: str, seq: int) -> str | None:
        with self._transaction("the objects of a transfer") as tx:
            at = {"of_transfer": transfer_id, "of_seq": seq}
            return rows.text(tx.execute(_KEY, at).scalar())

    def _is_ordered(self, transfer_id: str) -> bool:
        """The plan is in the order of its keys.

        `transfer.listing` relies upon the order after as many keys, and refuses what breaks it
        later.
        """
        before = func.lag(objects.c.key).over(order_by=objects.c.seq).label("before")
        first = (
            select(objects.c.key, before)
            .where(objects.c.transfer_id == transfer_id, objects.c.seq <= OBJECTS_AT_ONCE)
            .subquery()
        )
        query = select(first.c.key).where(first.c.key <= first.c.before).limit(1)
        with self._transaction("the order of a plan") as tx:
            return tx.execute(query).first() is None

    def _searched(self, transfer_id: str, wanted: TextRange) -> ObjectSpan | None:
        """Through a plan without order, piece by piece."""
        found: list[ObjectSpan] = []
        after: int | None = -1
        while after is not None:
            span, after = self._summed(transfer_id, after, wanted)
            found += [] if span is None else [span]
        if not found:
            return None
        return ObjectSpan(
            first=found[0].first,
            objects=sum(one.objects for one in found),
            size_bytes=sum(one.size_bytes or 0 for one in found),
        )

    def _summed(
        self, transfer_id: str, after: int, wanted: TextRange
    ) -> tuple[ObjectSpan | None, int | None]:
        """Of one piece behind the position `after`; and its end, None: it was the last."""
        here = (objects.c.transfer_id == transfer_id, objects.c.seq > after)
        edge = select(objects.c.seq).where(*here).order_by(objects.c.seq)
        query = select(
            func.min(objects.c.seq), func.count(), func.coalesce(func.sum(objects.c.size_bytes), 0)
        ).where(*here, objects.c.key >= wanted.low, objects.c.key < wanted.high)
        with self._transaction("the objects of a transfer") as tx:
            end = tx.execute(edge.limit(1).offset(OBJECTS_AT_ONCE - 1)).scalar()
            if end is not None:
                query = query.where(objects.c.seq <= end)
            first, count, size_bytes = tx.execute(query).one()
        if not count:
            return None, end
        return ObjectSpan(first=first, objects=count, size_bytes=int(size_bytes)), end

    def object_at(self, transfer_id: str, seq: int) -> EvidenceRow | None:
        """The object at this position of a plan, with its proof."""
        with self._transaction(transfer_id) as tx:
            found = objects_of(tx, find(tx, transfer_id), after=seq - 1, most=1)
        return next((one for one in found if one.planned.seq == seq), None)
