"""Replays of dead letters, and what was done about each letter."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0003"
down_revision = "0002"

_ID = sa.Text().with_variant(TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table of replays; letters that are there wait, as they did."""
    _compare_event_ids(sa.Text(), TEXT(collation="C"))
    op.add_column("dead_letters", sa.Column("state_ms", sa.BigInteger()))
    op.add_column("dead_letters", sa.Column("replay_id", _ID))
    _index("dead_letters_waiting", ["integration_id", "dead_ms"], "state = 'waiting'")
    _index("dead_letters_waiting_of_all", ["dead_ms"], "state = 'waiting'")
    _index("dead_letters_replayed", ["replay_id"], "replay_id IS NOT NULL")
    op.create_index("dead_letters_of_event", "dead_letters", ["event_id", "integration_id"])
    _make_replays()


def downgrade() -> None:
    """Drop the table, the indexes, the columns."""
    op.drop_table("replays")
    for index in ("of_event", "replayed", "waiting_of_all", "waiting"):
        op.drop_index(f"dead_letters_{index}", "dead_letters")
    op.drop_column("dead_letters", "replay_id")
    op.drop_column("dead_letters", "state_ms")
    _compare_event_ids(TEXT(collation="C"), TEXT(collation="default"))


def _compare_event_ids(before: sa.Text, after: sa.Text) -> None:
    """Let PostgreSQL compare them as it does those of the deliveries, or no index serves both."""
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("dead_letters", "event_id", existing_type=before, type_=after)


def _index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "dead_letters", columns, sqlite_where=where, postgresql_where=where)


def _make_replays() -> None:
    op.create_table(
        "replays",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("target_id", _ID),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rate", sa.Integer(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("replayed", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.Column("pages", sa.BigInteger(), nullable=False),
        sa.Column("upto_ms", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.Column("note", sa.Text()),
    )
    op.create_index("replays_age", "replays", ["created_ms"])
    runs = sa.text("state = 'running'")
    op.create_index("replays_running", "replays", ["created_ms"], sqlite_where=runs, postgresql_where=runs)
