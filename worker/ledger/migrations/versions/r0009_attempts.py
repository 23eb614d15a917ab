"""Every attempt of what did not succeed at once: when, which one, and what was answered."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
release = "0.2.0"
readable_from = "0007"

_ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table; what an older recorder writes has no rows in it."""
    op.create_table(
        "attempts",
        sa.Column("event_id", _ID, primary_key=True),
        sa.Column("integration_id", _ID, primary_key=True),
        sa.Column("content", _ID, primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True),
        sa.Column("status", sa.Text(), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("http_status", sa.Integer()),
        sa.Column("error_code", sa.Text()),
        sa.Column("error", sa.Text()),
    )
    op.create_index("attempts_age", "attempts", ["at_ms"])


def downgrade() -> None:
    """Drop it: deliveries and dead letters have the latest attempt of each."""
    op.drop_table("attempts")
