"""What a delivery can claim, and why an integration was switched off."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; what is in the tables keeps NULL in them: nobody had asked."""
    op.add_column("deliveries", sa.Column("assurance", sa.Text()))
    op.add_column("integrations", sa.Column("disabled_reason", sa.Text()))
    op.add_column("integrations", sa.Column("disabled_ms", sa.BigInteger()))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("integrations", "disabled_ms")
    op.drop_column("integrations", "disabled_reason")
    op.drop_column("deliveries", "assurance")
