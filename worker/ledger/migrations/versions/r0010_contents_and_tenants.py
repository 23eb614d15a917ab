"""Which content a delivery and a dead letter are of, and whose an invalid event is."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0010"
down_revision = "0009"
release = "0.2.0"
readable_from = "0007"

_ID = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
_INVALID = "tenant_id IS NOT NULL"
_WAITS = "state = 'waiting'"


def upgrade() -> None:
    """Add the columns; find a tenant's invalid events, and the letters of an event that wait."""
    op.add_column("dead_letters", sa.Column("content", sa.Text()))
    op.add_column("dead_letters", sa.Column("tenant_id", _ID))
    op.create_index(
        "dead_letters_of_tenant",
        "dead_letters",
        ["tenant_id", "dead_ms"],
        sqlite_where=sa.text(_INVALID),
        postgresql_where=sa.text(_INVALID),
    )
    op.create_index(
        "dead_letters_invalid",
        "dead_letters",
        ["dead_ms", "tenant_id", "state"],
        sqlite_where=sa.text(_INVALID),
        postgresql_where=sa.text(_INVALID),
    )
    op.create_index(
        "dead_letters_waiting_of_event",
        "dead_letters",
        ["event_id", "integration_id", "content"],
        sqlite_where=sa.text(_WAITS),
        postgresql_where=sa.text(_WAITS),
    )
    # Last: on PostgreSQL nobody reads the table from here to the end of the upgrade.
    op.add_column("deliveries", sa.Column("content", sa.Text()))


def downgrade() -> None:
    """Drop them: of an id that was used again, all rows but the first keep a digest behind that id."""
    op.drop_index("dead_letters_waiting_of_event", "dead_letters")
    op.drop_index("dead_letters_invalid", "dead_letters")
    op.drop_index("dead_letters_of_tenant", "dead_letters")
    op.drop_column("dead_letters", "tenant_id")
    op.drop_column("dead_letters", "content")
    op.drop_column("deliveries", "content")
