"""How long deliveries took, what attempts failed of, and how many events were replayed, in all."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
release = "0.2.0"
readable_from = "0007"

_ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
#: As `worker.ledger.counts` had them at this step.
_BOUNDS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000)
_ADDED = (*(f"within_{bound}_ms" for bound in _BOUNDS_MS), "slower", "latency_sum_ms")


def upgrade() -> None:
    """Add them; each begins with nothing, and what older recorders and replayers do is not counted."""
    for name in _ADDED:
        # With a default, for a recorder that does not know them.
        column = sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
        op.add_column("delivery_totals", column)
    op.create_table(
        "failure_totals",
        sa.Column("integration_id", _ID, primary_key=True),
        sa.Column("status", sa.Text(), primary_key=True),
        sa.Column("error_code", sa.Text(), primary_key=True),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "ledger_totals",
        sa.Column("name", _ID, primary_key=True),
        sa.Column("total", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("ledger_totals")
    op.drop_table("failure_totals")
    for name in _ADDED:
        op.drop_column("delivery_totals", name)
