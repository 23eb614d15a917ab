"""Parked events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0004"
down_revision = "0003"

_ID = sa.Text().with_variant(TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "parked",
        sa.Column("name", _ID, primary_key=True),
        sa.Column("integration_id", _ID, nullable=False),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.Column("parked_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("parked_order", "parked", ["integration_id", "urgent", "position", "events"])
    op.create_index("parked_age", "parked", ["parked_ms"])


def downgrade() -> None:
    """Drop the table, with what is parked."""
    op.drop_table("parked")
