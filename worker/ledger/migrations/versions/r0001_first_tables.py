"""The first tables: integrations, deliveries, dead letters, counts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0001"
down_revision = None

_ID = sa.Text().with_variant(TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables and their indexes."""
    _make_integrations()
    _make_deliveries()
    _make_dead_letters()
    _make_counts()


def downgrade() -> None:
    """Drop everything."""
    for table in ("recorded_entries", "minute_counts", "dead_letters", "deliveries", "integrations"):
        op.drop_table(table)


def _make_integrations() -> None:
    op.create_table(
        "integrations",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("deleted_ms", sa.BigInteger()),
    )
    living = sa.text("deleted_ms IS NULL")
    op.create_index(
        "integrations_living_name",
        "integrations",
        ["tenant_id", "name"],
        unique=True,
        sqlite_where=living,
        postgresql_where=living,
    )


def _make_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("event_id", _ID, primary_key=True),
        sa.Column("integration_id", _ID, primary_key=True),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("http_status", sa.Integer()),
        sa.Column("error_code", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("hint", sa.Text()),
        sa.Column("event_ms", sa.BigInteger(), nullable=False),
        sa.Column("published_ms", sa.BigInteger(), nullable=False),
        sa.Column("settled_ms", sa.BigInteger(), nullable=False),
        sa.Column("latency_ms", sa.BigInteger()),
        sa.Column("retry_at_ms", sa.BigInteger()),
        sa.Column("version", sa.BigInteger(), nullable=False),
    )
    op.create_index("deliveries_latest", "deliveries", ["integration_id", "settled_ms"])
    unwell = sa.text("status <> 'delivered'")
    op.create_index(
        "deliveries_unwell",
        "deliveries",
        ["integration_id", "settled_ms"],
        sqlite_where=unwell,
        postgresql_where=unwell,
    )


def _make_dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("integration_id", _ID),
        sa.Column("event_id", sa.Text()),
        sa.Column("event_type", sa.Text()),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("http_status", sa.Integer()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("event_ms", sa.BigInteger(), nullable=False),
        sa.Column("published_ms", sa.BigInteger(), nullable=False),
        sa.Column("dead_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, server_default="waiting"),
    )
    op.create_index("dead_letters_latest", "dead_letters", ["integration_id", "dead_ms"])
    op.create_index("dead_letters_latest_of_all", "dead_letters", ["dead_ms"])


def _make_counts() -> None:
    op.create_table(
        "minute_counts",
        sa.Column("integration_id", _ID, primary_key=True),
        sa.Column("minute_ms", sa.BigInteger(), primary_key=True),
        sa.Column("delivered", sa.BigInteger(), nullable=False),
        sa.Column("retried", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum_ms", sa.BigInteger(), nullable=False),
        sa.Column("latency_max_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "recorded_entries",
        sa.Column("stream_entry", _ID, primary_key=True),
        sa.Column("recorded_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("recorded_entries_age", "recorded_entries", ["recorded_ms"])
