"""Which transfer was to bring an object: one that is open, or else the last one that died."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backhaul.core.reconciliation.values import Cover, SourceObject


class Covers:
    """Transfers that have not ended well, found by the objects that they were to bring."""

    def __init__(self, every: Iterable[Cover]) -> None:
        self._by_key: dict[tuple[str, str], list[Cover]] = {}
        for one in every:
            self._by_key.setdefault((one.bucket, one.key), []).append(one)

    def of(self, source: SourceObject) -> Cover | None:
        """The transfer that was to bring this object to its path."""
        if not self._by_key:
            return None
        best: Cover | None = None
        for key in _keys(source.key):
            for one in self._by_key.get((source.bucket, key), ()):
                is_its = source.path.startswith(f"{one.directory.rstrip('/')}/")
                if is_its and (best is None or _rank(one) > _rank(best)):
                    best = one
        return best


def _rank(one: Cover) -> tuple[bool, int]:
    return one.is_open, one.ended_us or 0


def _keys(key: str) -> Iterator[str]:
    """The key itself and every prefix that a message may have named: `a/b`, `a/`, `a`, all."""
    yield key
    end = key.rfind("/", 0, len(key))
    while end >= 0:
        yield key[: end + 1]
        yield key[:end]
        end = key.rfind("/", 0, end)
    yield ""
