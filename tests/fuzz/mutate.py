"""New bodies from old ones, by a seed: the same seed gives the same bodies."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

TOKENS = (
    *("/", "//", "/./", "/../", "..", ".", "/.reserved/raw/", "/.snapshot/", ".backhaul", ".Trash"),
    *("%2F", "%2e%2e", "%00", "%25", "%", "+", " ", "  ", "\t", "\n", "\r\n", "\0", "\x1b[2J"),
    *("\x7f", "\x85", "\u2028", "\u202e", "\ufeff", "\u00e9", "e\u0301", "\ud800", "\U0001f4a9"),
    *("s3://", "s3a://", "s3n://", "S3://", "hdfs://", "hdfs:", "file://", "file:///", "viewfs://"),
    *("bucket", "raw/", "raw", "raw-evil/", "acme-raw", "click/day=1/", "click/day=10/"),
    *("/landing", "/landing/", "/landing-evil", "landing", "nameservice", "other:9000", "/data/in"),
    *("/mnt/landing", "key:secret@", "@", ":", ":9999", "localhost", "127.0.0.1", "[::1]"),
    *(",", ", ", ",,", ";", "|", "$(id)", "`id`", "'", '"', "\\", "\\u0000", "\\ud800", "\\/"),
    *("{", "}", "[", "]", '{"v":1', '"v":1', '"v":2', '"v":1.0', '"source":', '"destination":'),
    *('"options":', '"on_exists":"replace"', '"verify":"size"', '"engine":"distcp"', "null"),
    *("true", "NaN", "1e999", "-0", "9" * 400, "-delete", "-Dfs.defaultFS=", "*", "?", "{a,b}"),
    *('{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","eventVersion":"2.1",', '"key":"'),
    *(
        '"s3":{"bucket":{"name":"bucket"},"object":{"key":"raw/a","size":1}}',
        '"_SUCCESS"',
        "Export",
    ),
    *("_temporary/0/", ".backhaul-1.jsonl", "\u200b", "\u2066", "X-Amz-Signature=c0ffee", "AKIA"),
    *('"eventSource":"aws:sqs"', '"EventSource":"aws:sns"', '"requestPayload":', '"taskToken":"x"'),
    *('["software.amazon.payloadoffloading.PayloadS3Pointer",', '"versionId":""', "H4sIAAAA"),
    *('"detail-type":"AWS API Call via CloudTrail"', '"sequencer":"FFFF"', "'", "\u201c"),
    *('"Records":[', '"detail-type":', '"Type":"Notification"', '"Message":', "s3:TestEvent"),
)
VALUES: tuple[object, ...] = (
    None,
    True,
    0,
    1,
    2,
    -1,
    1e308,
    "",
    " ",
    "x",
    [],
    {},
    ["/landing"],
    {"v": 1},
)
FIELDS = (
    "v",
    "source",
    "destination",
    "options",
    "dest",
    "on_exists",
    "verify",
    "engine",
    "runAs",
    *("Records", "s3", "key", "name", "size", "sequencer", "eventName", "eventVersion", "detail"),
    *("Message", "Type", "detail-type", "source", "stepName", "state", "version"),
)
_DEPTH_MAX = 3000
_REPEAT_MAX = 3000


class Mutator:
    """Bodies made of a corpus.

    Args:
        corpus: Never empty; `keep` adds to it.
    """

    def __init__(self, corpus: Sequence[str], seed: int) -> None:
        self._corpus = list(corpus)
        self._chance = random.Random(seed)

    def keep(self, body: str) -> None:
        """This one was new: build on it."""
        self._corpus.append(body)

    def next(self) -> str:
        """One more body."""
        chance = self._chance
        body = chance.choice(self._corpus)
        for _ in range(1 + int(chance.expovariate(0.6))):
            body = chance.choice(_MUTATIONS)(self, body)
        return body

    # ------------------------------------------------------------ mutations

    def _at(self, body: str) -> int:
        return self._chance.randint(0, len(body))

    def _insert(self, body: str) -> str:
        at = self._at(body)
        return body[:at] + self._chance.choice(TOKENS) + body[at:]

    def _character(self, body: str) -> str:
        at = self._at(body)
        number = self._chance.choice((128, 256, 0x3000, 0x110000))
        return body[:at] + chr(self._chance.randrange(number)) + body[at + 1 :]

    def _cut(self, body: str) -> str:
        start, end = sorted((self._at(body), self._at(body)))
        return body[:start] + body[end:]

    def _repeat(self, body: str) -> str:
        start, end = sorted((self._at(body), self._at(body)))
        many = min(self._chance.choice((2, 2, 3, 40, 300)), 1 + _REPEAT_MAX // (end - start + 1))
        return body[:end] + body[start:end] * many + body[end:]

    def _splice(self, body: str) -> str:
        other = self._chance.choice(self._corpus)
        return body[: self._at(body)] + other[self._at(other) :]

    def _line(self, body: str) -> str:
        """A comma line of two places that are nearly right."""
        chance = self._chance
        source = "".join(chance.choice(TOKENS) for _ in range(chance.randint(0, 3)))
        place = "".join(chance.choice(TOKENS) for _ in range(chance.randint(0, 3)))
        head = chance.choice(("bucket/raw/", "s3://acme-raw/click/day=1/", "whole-bucket/", body))
        return f"{head}{source}, {chance.choice(('/landing', '/landing/', 'file:///mnt/landing'))}{place}"

    def _document(self, body: str) -> str:
        """A JSON object with one field changed, or one made of the body."""
        chance = self._chance
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            source, _, place = body.partition(",")
            document = {"v": 1, "source": source.strip(), "destination": place.strip()}
        document, whole = _somewhere(document, chance), document
        name = chance.choice((*FIELDS, *document))
        match chance.randrange(4):
            case 0:
                document[name] = chance.choice(VALUES)
            case 1:
                document.pop(name, None)
            case 2:
                document[name] = str(document.get(name, "")) + chance.choice(TOKENS)
            case _:
                document["options"] = {chance.choice(FIELDS): "fail"}
        return json.dumps(whole, ensure_ascii=chance.random() < 0.5)

    def _nest(self, body: str) -> str:
        depth = self._chance.choice((2, 31, 33, _DEPTH_MAX))
        left, right = self._chance.choice((("[", "]"), ('{"a":', "}")))
        return left * depth + body + right * depth

    def _swap_case(self, body: str) -> str:
        start, end = sorted((self._at(body), self._at(body)))
        return body[:start] + body[start:end].swapcase() + body[end:]


def _somewhere(document: dict[str, object], chance: random.Random) -> dict[str, object]:
    """The document itself, or an object deep in it: events are nested."""
    found: list[dict[str, object]] = [document]
    for one in found[:50]:
        for value in one.values():
            inner = value if isinstance(value, list) else [value]
            found += [each for each in inner[:5] if isinstance(each, dict)]
        if len(found) > 50:
            break
    deeper = [one for each in found[1:] for one in each.values() if isinstance(one, dict)]
    return chance.choice([*found, *deeper])


_MUTATIONS: tuple[Callable[[Mutator, str], str], ...] = (
    *(Mutator._insert,) * 4,
    *(Mutator._character,) * 2,
    *(Mutator._line,) * 3,
    *(Mutator._document,) * 3,
    *(Mutator._cut, Mutator._repeat, Mutator._splice, Mutator._nest, Mutator._swap_case),
)
