"""Keys of the HTTP API, and what may be shown of an integration's secrets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0005"
down_revision = "0004"

_ID = sa.Text().with_variant(TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table and the column; of secrets that are there, it is not known since when."""
    op.create_table(
        "api_keys",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger()),
    )
    op.add_column("integrations", sa.Column("secrets_set", sa.Text()))


def downgrade() -> None:
    """Drop both."""
    op.drop_column("integrations", "secrets_set")
    op.drop_table("api_keys")
