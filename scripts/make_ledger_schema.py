"""Write `adapters/ledger/sqlite/newest.sql`: all tables and indexes as the migrations leave them.

A new ledger is made from it in one step, without Alembic. Run this after adding a migration;
`tests/unit/test_ledger_files.py` holds the file against the migrations.
"""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from backhaul.adapters.ledger.sqlite.migrate import NEWEST


def newest() -> str:
    """The statements of a ledger that went through every migration, in the order that SQLite has.

    Each ends with `;` at the end of its last line, and has no blanks at the end of a line.
    """
    config = Config()
    config.set_main_option("script_location", str(files("backhaul") / "migrations"))
    with create_engine("sqlite://").begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        found = connection.execute(
            text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
        )
        return "".join(f"{_tidy(sql)};\n" for sql in found.scalars())


def _tidy(statement: str) -> str:
    return "\n".join(line.rstrip() for line in statement.strip().splitlines())


if __name__ == "__main__":
    NEWEST.write_text(newest(), "utf-8")
