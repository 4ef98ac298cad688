"""The first tables."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    meta = op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.bulk_insert(meta, [{"name": "ledger_id", "value": secrets.token_hex(8)}])
    _transfers()
    _destinations()
    _objects_and_published()
    _journal()


def _transfers() -> None:
    op.create_table(
        "transfers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("queue", sa.Text),
        sa.Column("message_id", sa.Text),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("canonical", sa.Text),
        sa.Column("directory", sa.Text),
        sa.Column("route", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("source_changes", sa.Integer, nullable=False),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("owner", sa.Text),
        sa.Column("plan_complete", sa.Boolean, nullable=False),
        sa.Column("renames_possible", sa.Boolean, nullable=False),
        sa.Column("objects_planned", sa.BigInteger, nullable=False),
        sa.Column("bytes_planned", sa.BigInteger, nullable=False),
        sa.Column("markers", sa.BigInteger, nullable=False),
        sa.Column("publish_mode", sa.Text),
        sa.Column("code", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("duration_us", sa.BigInteger),
        sa.UniqueConstraint("queue", "message_id", name="uq_transfers_message"),
        sqlite_with_rowid=False,
    )


def _destinations() -> None:
    op.create_table(
        "destinations",
        sa.Column("uri", sa.Text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("staging_root", sa.Text),
        sa.Column("owner_transfer", sa.Text, sa.ForeignKey("transfers.id")),
        sa.Column("owner", sa.Text),
        sa.Column("intent_transfer", sa.Text),
        sa.Column("intent_at", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_destinations_owner_transfer",
        "destinations",
        ["owner_transfer"],
        sqlite_where=sa.text("owner_transfer IS NOT NULL"),
        postgresql_where=sa.text("owner_transfer IS NOT NULL"),
    )


def _objects_and_published() -> None:
    op.create_table(
        "objects",
        sa.Column("transfer_id", sa.Text, sa.ForeignKey("transfers.id"), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("version_id", sa.Text),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("last_modified", sa.BigInteger, nullable=False),
        sa.Column("relative", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("crc32c", sa.Text),
        sa.Column("proof", sa.Text),
        sa.Column("algorithm", sa.Text),
        sa.Column("checksum", sa.Text),
        sa.Column("seen_version_id", sa.Text),
        sa.Column("modified_ms", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "published",
        sa.Column("uri", sa.Text, primary_key=True),
        sa.Column("transfer_id", sa.Text, nullable=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("version_id", sa.Text),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("last_modified", sa.BigInteger, nullable=False),
        sa.Column("crc32c", sa.Text, nullable=False),
        sa.Column("modified_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _journal() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "journal",
        sa.Column("number", number, primary_key=True),
        sa.Column("transfer_id", sa.Text, sa.ForeignKey("transfers.id"), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("reason", sa.Text),
    )
    op.create_index("ix_journal_transfer_id", "journal", ["transfer_id"])
