"""The generated messages of Hadoop's protocols are those of the `.proto` files."""

from __future__ import annotations

from pathlib import Path

from scripts.make_protocol import PROTOCOL, SOURCE, generate


def test_generated_messages_are_current(tmp_path: Path) -> None:
    generate(tmp_path)
    generated = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2.py*"))
    assert {path.name for path in generated} == {path.name for path in PROTOCOL.glob("*_pb2.py*")}
    for path in generated:
        assert (SOURCE / path).read_text() == (tmp_path / path).read_text(), (
            "run `python scripts/make_protocol.py`"
        )
