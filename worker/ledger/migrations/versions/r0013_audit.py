"""Who did what: the audit trail, and which of its records are still to be published."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
release = "0.2.0"
readable_from = "0007"

_ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the tables; the trail begins here, and what an older release does leaves no record."""
    op.create_table(
        "audit",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("action", _ID, nullable=False),
        sa.Column("tenant_id", _ID),
        sa.Column("integration_id", _ID),
        sa.Column("key_id", _ID),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_index("audit_age", "audit", ["at_ms"])
    op.create_index("audit_of_tenant", "audit", ["tenant_id", "id"])
    op.create_index("audit_of_integration", "audit", ["integration_id", "id"])
    op.create_index("audit_of_key", "audit", ["key_id", "id"])
    op.create_index("audit_of_action", "audit", ["action", "id"])
    op.create_index("audit_of_tenant_action", "audit", ["tenant_id", "action", "id"])
    op.create_table("audit_outbox", sa.Column("record_id", _ID, primary_key=True))


def downgrade() -> None:
    """Drop them: the trail is lost."""
    op.drop_table("audit_outbox")
    op.drop_table("audit")
