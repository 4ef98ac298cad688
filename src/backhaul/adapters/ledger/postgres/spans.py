"""What lies at or below a destination, as the constraint `no_overlap` has it: a range of texts.

A key of its index must be short, so the span of a long path is that of all that begin like it.
Two long destinations may thus exclude each other although neither is above the other: the one
waits for the other. Whoever looks before a claim has to judge by the same spans.
"""

from __future__ import annotations

CUT = 240  # characters of a URI, as the column `destinations.span` is generated
_LAST = chr(0x10FFFF)  # no text that begins alike sorts after it


def span_of(uri: str) -> tuple[str, str]:
    """Its first text and the one after its last, in the order of code points."""
    if len(uri) >= CUT:
        return uri[:CUT], uri[:CUT] + _LAST
    base = uri.rstrip("/")
    return f"{base}/", f"{base}0"  # in ASCII, `0` is the one after `/`


def spans_overlap(one: str, other: str) -> bool:
    """Whether the database would refuse that both URIs are owned."""
    (begins, ends), (other_begins, other_ends) = span_of(one), span_of(other)
    return begins < other_ends and other_begins < ends
