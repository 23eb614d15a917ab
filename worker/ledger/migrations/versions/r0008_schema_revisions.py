"""Which steps were taken, and the oldest code that can work with each."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
release = "0.2.0"
readable_from = "0007"


def upgrade() -> None:
    """Add the table; who takes the step writes the row of it."""
    op.create_table(
        "schema_revisions",
        sa.Column("revision", sa.Text(), primary_key=True),
        sa.Column("readable_from", sa.Text(), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("applied_ms", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Drop it: `alembic_version` says all of older steps."""
    op.drop_table("schema_revisions")
