"""Steps of releases that are yet to come, behind those of this one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from worker.ledger.migrations.revisions import MIGRATIONS, Revisions, own_steps

#: A step that adds: code of revision 0007 does not notice it.
EXPANDS = """
revision = "9001"
down_revision = "{before}"
release = "8.0.0"
readable_from = "0007"

def upgrade():
    op.add_column("integrations", sa.Column("lane", sa.Text()))

def downgrade():
    op.drop_column("integrations", "lane")
"""

#: A step that takes away what code before revision 9001 needs.
CONTRACTS = """
revision = "9002"
down_revision = "9001"
release = "9.0.0"
readable_from = "9001"

def upgrade():
    op.drop_column("integrations", "disabled_ms")

def downgrade():
    op.add_column("integrations", sa.Column("disabled_ms", sa.BigInteger()))
"""

_HEAD = '"""A later step."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n'


def later_steps(folder: Path, *sources: str) -> Revisions:
    """Return the steps of this release with these behind them."""
    shutil.copytree(MIGRATIONS, folder, dirs_exist_ok=True)
    for number, source in enumerate(sources):
        text = _HEAD + source.format(before=own_steps().head)
        (folder / "versions" / f"later_{number}.py").write_text(text)
    return Revisions(folder)


@contextmanager
def as_later_release(folder: Path, *sources: str) -> Iterator[None]:
    """Let this process be one of a release that has these steps, too; no other thread may look at them."""
    later_steps(folder, *sources)
    with patch("worker.ledger.migrations.revisions.MIGRATIONS", folder):
        own_steps.cache_clear()
        try:
            yield
        finally:
            own_steps.cache_clear()
