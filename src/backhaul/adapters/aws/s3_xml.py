"""The XML of S3's answers, parsed with every bound that a stranger's bytes need.

A DOCTYPE is refused before the parser sees it: without one there are no entities to expand, and
none to fetch.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

DOCUMENT_MAX_BYTES = 8 << 20  # 1,000 keys of 1,024 bytes, percent-encoded, are some 4 MB
_MARKUP_MAX = 200_000  # signs `<`; a page of 1,000 objects has at most some 40,000


def parse(body: bytes) -> ET.Element:
    """The root element.

    Raises:
        ValueError: It is too large, has a DOCTYPE or is no complete XML; the end of a sentence.
    """
    if len(body) > DOCUMENT_MAX_BYTES or body.count(b"<") > _MARKUP_MAX:
        raise ValueError(f"it is too large ({len(body):,} B)")
    # The parser reads it as UTF-8 whatever it declares, so these bytes are the only spelling.
    if b"<!DOCTYPE" in body:
        raise ValueError("it has a DOCTYPE")
    parser = ET.XMLParser(encoding="utf-8")  # noqa: S314 - without a DTD there are no entities
    try:
        parser.feed(body)
        return parser.close()
    except ET.ParseError as exc:
        raise ValueError(f"it is cut or no XML ({exc}; {len(body):,} B)") from exc


def name_of(element: ET.Element) -> str:
    """The tag without its namespace."""
    return element.tag.rpartition("}")[2]


def text_of(root: ET.Element, name: str) -> str:
    """Text of the first element of that name, without outer blanks; empty if there is none."""
    found = (one.text for one in root.iter() if name_of(one) == name)
    return (next(found, None) or "").strip()
