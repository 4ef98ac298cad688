"""The picture of the dashboard is what `scripts/screenshot.py` makes, and it is small."""

from __future__ import annotations

import struct

from scripts.screenshot import HEIGHT, MOST_BYTES, PICTURE, WIDTH
from tests.docs.manual import DOCS, ROOT, text_of


def test_the_dashboards_picture_is_of_its_size_and_in_readme_and_manual() -> None:
    picture = PICTURE.read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    # The header's first fields: PNG specification, IHDR.
    assert struct.unpack(">II", picture[16:24]) == (WIDTH, HEIGHT)
    assert len(picture) < MOST_BYTES
    assert f"({PICTURE.relative_to(ROOT)})" in text_of(ROOT / "README.md")
    assert f"({PICTURE.relative_to(DOCS)})" in text_of(DOCS / "dashboard.md")
