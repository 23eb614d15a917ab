"""What was settled at each integration in all."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
release = "0.2.0"
readable_from = "0007"

_ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table; totals begin with nothing, and what an older recorder writes does not count."""
    op.create_table(
        "delivery_totals",
        sa.Column("integration_id", _ID, primary_key=True),
        sa.Column("delivered", sa.BigInteger(), nullable=False),
        sa.Column("retried", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Drop it: the counts of minutes stay, as long as they are kept."""
    op.drop_table("delivery_totals")
