"""An id of the ledger, so that two of them do not share one Redis unnoticed."""

import time
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the table, and the one row that it will ever have."""
    table = op.create_table(
        "ledger_identity",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
    )
    op.bulk_insert(table, [{"id": str(uuid.uuid4()), "created_ms": time.time_ns() // 1_000_000}])


def downgrade() -> None:
    """Drop it: the next upgrade makes another id, for which Redis must be claimed (`siem redis claim`)."""
    op.drop_table("ledger_identity")
