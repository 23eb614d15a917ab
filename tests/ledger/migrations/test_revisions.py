"""Who can work with which tables: this release, the one before it, and those to come."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from tests.fleet import wait_until
from tests.ledger.migrations.later_steps import CONTRACTS, EXPANDS, later_steps
from tests.ledger.tables import is_current
from tests.logged import event_names
from worker import __version__
from worker.ledger.engine import open_ledger, reading, writing
from worker.ledger.migrations.changes import Wait, changes_of, statements_of
from worker.ledger.migrations.revisions import Revision, Revisions, own_steps, readable_from, words_of_tables
from worker.ledger.migrations.runner import (
    downgrade_tables,
    require_readable_schema,
    tables_of,
    upgrade_tables,
)
from worker.model.errors import NotFoundError, SchemaBehind, SchemaOutdated

_ALL = own_steps().all
_WITH_A_ROW = [step for step in _ALL if step.revision >= "0008"]
#: What release 0.1.0 compares `alembic_version` with.
_OF_0_1_0 = "0007"


def _told_0_1_0(engine: Engine) -> str | None:
    """Return what release 0.1.0 takes for the revision of the tables."""
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


@pytest.mark.parametrize("step", _WITH_A_ROW, ids=[step.revision for step in _WITH_A_ROW])
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_step_says_truly_who_can_work_with_it(step: Revision, dialect: str) -> None:
    """A step that only adds leaves everybody in; one that does not shuts older code out, and says so."""
    before = readable_from([one for one in _ALL if one.revision < step.revision])
    changes = changes_of([step], dialect)
    takes_away = [change.words for change in changes if not change.additive]

    module = step.load()
    assert (module.revision, module.release, module.readable_from) == (
        step.revision,
        step.release,
        step.readable_from,
    )
    assert step.readable_from <= step.revision
    if takes_away:
        assert step.readable_from > before, f"older code needs what this changes: {takes_away}"
    else:
        assert step.readable_from == before


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_no_step_takes_longer_for_more_deliveries(dialect: str) -> None:
    """Millions of them may be there: while a step read or wrote them all, no recorder could write."""
    changes = changes_of(own_steps().above(_OF_0_1_0), dialect)
    long = [
        change.words
        for change in changes
        if change.table == "deliveries" and change.wait not in {Wait.NOTHING, Wait.MOMENT}
    ]

    assert "adds the column deliveries.content" in [change.words for change in changes]
    assert long == []
    assert [change.words for change in changes if change.words == "runs SQL of its own"] == []


def test_steps_stand_in_one_line() -> None:
    """Four digits, one after the other: they are compared as text."""
    assert [step.revision for step in _ALL] == [f"{number + 1:04}" for number in range(len(_ALL))]
    assert [step.load().down_revision for step in _ALL[1:]] == [step.revision for step in _ALL[:-1]]
    assert [tuple(map(int, step.release.split("."))) for step in _ALL] == sorted(
        tuple(map(int, step.release.split("."))) for step in _ALL
    )
    assert _ALL[-1].release <= __version__


def test_release_0_1_0_goes_on_beside_these_tables(engine: Engine) -> None:
    """It refuses unless `alembic_version` is its own revision exactly; it is, though the tables have more."""
    found = tables_of(engine)

    assert _told_0_1_0(engine) == _OF_0_1_0
    assert found is not None
    assert found.revision == _ALL[-1].revision
    assert found.readable_from == "0007"
    assert found.readable_release == "0.1.0"


def test_tables_that_release_0_1_0_made_are_upgraded(engine: Engine) -> None:
    """Without a table that says of each step, `alembic_version` says which is the last."""
    downgrade_tables(engine, _OF_0_1_0)
    before = tables_of(engine)
    with pytest.raises(
        SchemaBehind, match=r"release 0\.1\.0, revision 0007; it needs .*run `siem db upgrade`"
    ):
        require_readable_schema(engine)
    taken = upgrade_tables(engine)

    assert before is not None
    assert (before.revision, before.release) == (_OF_0_1_0, "0.1.0")
    assert [step.revision for step in taken] == [step.revision for step in _WITH_A_ROW]
    assert (_told_0_1_0(engine), is_current(engine)) == (_OF_0_1_0, True)


def test_after_a_downgrade_the_tables_are_those_of_release_0_1_0(engine: Engine) -> None:
    """Nothing is left that it does not know."""
    undone = downgrade_tables(engine, _OF_0_1_0)

    assert [step.revision for step in undone] == [step.revision for step in reversed(_WITH_A_ROW)]
    assert _told_0_1_0(engine) == _OF_0_1_0
    assert "schema_revisions" not in inspect(engine).get_table_names()


def test_this_release_works_with_newer_tables_that_only_have_more(engine: Engine, tmp_path: Path) -> None:
    """The database says so itself: this release has never heard of that step."""
    upgrade_tables(engine, later_steps(tmp_path, EXPANDS))
    found = require_readable_schema(engine)

    assert (found.revision, found.release) == ("9001", "8.0.0")
    assert "a newer release (release 8.0.0, revision 9001), with which this one can work" in words_of_tables(
        found
    )
    assert upgrade_tables(engine) == []
    assert not is_current(engine)
    assert _told_0_1_0(engine) == _OF_0_1_0


def test_newer_tables_that_lack_something_are_refused(engine: Engine, tmp_path: Path) -> None:
    """The words name the release to install, and the way back; release 0.1.0 refuses, too."""
    upgrade_tables(engine, later_steps(tmp_path, EXPANDS, CONTRACTS))

    for refused in (require_readable_schema, upgrade_tables):
        with pytest.raises(
            SchemaOutdated, match=r"release 9\.0\.0, revision 9002\): install release 8\.0\.0"
        ) as told:
            refused(engine)
        assert f"`siem db downgrade --to-release {__version__}`" in str(told.value)
        assert not isinstance(told.value, SchemaBehind)
    assert _told_0_1_0(engine) == "9001"


def test_only_a_newer_release_undoes_its_steps(engine: Engine, tmp_path: Path) -> None:
    """Older code says which one can; that one brings back the tables of each release before it."""
    later = later_steps(tmp_path, EXPANDS, CONTRACTS)
    upgrade_tables(engine, later)
    with pytest.raises(SchemaOutdated, match=r"only release 9\.0\.0, or a later one"):
        downgrade_tables(engine, own_steps().head)
    undone = downgrade_tables(engine, own_steps().head, later)

    assert [step.revision for step in undone] == ["9002", "9001"]
    assert is_current(engine)
    assert _told_0_1_0(engine) == _OF_0_1_0


def test_tables_that_say_nothing_of_themselves_are_left_alone(engine: Engine) -> None:
    """A revision that is unknown here, without a word on who can work with it."""
    with writing(engine) as connection:
        connection.execute(text("DROP TABLE schema_revisions"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    for refused in (require_readable_schema, upgrade_tables):
        with pytest.raises(SchemaOutdated, match=r"newer release \(revision 9999\): install that release$"):
            refused(engine)
    with pytest.raises(SchemaOutdated, match="only that with revision 9999"):
        downgrade_tables(engine, "0001")


def test_a_change_that_fails_leaves_the_tables_as_they_were(engine: Engine, tmp_path: Path) -> None:
    """Both databases roll tables back, with what is said of them."""
    broken = CONTRACTS.replace('"disabled_ms")', '"nowhere")', 1)
    with pytest.raises(Exception, match="nowhere"):
        upgrade_tables(engine, later_steps(tmp_path, EXPANDS, broken))

    assert is_current(engine)
    assert "lane" not in {column["name"] for column in inspect(engine).get_columns("integrations")}
    assert _told_0_1_0(engine) == _OF_0_1_0


_STOPS = EXPANDS.replace(
    "def downgrade", """    import pathlib, time
    pathlib.Path("{flag}").touch()
    time.sleep(600)

def downgrade"""
)  # fmt: skip
_TWO_TABLES = EXPANDS.replace(
    "def downgrade", """    op.add_column("api_keys", sa.Column("lane", sa.Text()))

def downgrade"""
)  # fmt: skip
_UPGRADE_LATER = """
import pathlib, sys
from tests.fleet import wait_until
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.revisions import Revisions
from worker.ledger.migrations.runner import upgrade_tables
upgrade_tables(open_ledger(sys.argv[1]), Revisions(pathlib.Path(sys.argv[2])))
"""


@pytest.mark.slow
def test_an_upgrade_that_is_killed_leaves_the_tables_as_they_were(
    engine: Engine, url: str, tmp_path: Path
) -> None:
    """In the middle of a step: the next one begins again, and is not locked out."""
    flag = tmp_path / "flag"
    later_steps(tmp_path / "later", _STOPS.replace("{flag}", str(flag)))
    words = [sys.executable, "-c", _UPGRADE_LATER, url, str(tmp_path / "later")]
    with subprocess.Popen(words) as killed:
        wait_until(flag.exists, "it is in the middle of a step")
        killed.kill()
    still = is_current(engine)
    upgrade_tables(engine, later_steps(tmp_path / "again", EXPANDS))

    assert still
    assert "lane" in {column["name"] for column in inspect(engine).get_columns("integrations")}


def test_an_upgrade_lets_others_go_first(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind a transaction that holds the table: it does not keep everybody else waiting for that, too."""
    monkeypatch.setattr("worker.ledger.migrations.runner._TABLE_WAIT_MS", 100)
    monkeypatch.setattr("worker.ledger.migrations.runner._PAUSES", (0.2,) * 100)
    engine = open_ledger(postgres_url)
    upgrade_tables(engine)
    steps = later_steps(tmp_path, EXPANDS)
    with ThreadPoolExecutor(1) as pool:
        with engine.connect() as holder:
            holder.execute(text("SELECT count(*) FROM integrations"))
            upgraded = pool.submit(upgrade_tables, engine, steps)
            wait_until(lambda: "table.locked" in event_names(caplog), "it waits")
            with writing(engine) as connection:
                connection.execute(text("UPDATE integrations SET name = name"))
        taken = upgraded.result()
    engine.dispose()

    assert [step.revision for step in taken] == ["9001"]


@pytest.mark.slow
def test_an_upgrade_goes_on_after_a_deadlock(postgres_url: str, tmp_path: Path) -> None:
    """With a transaction that wants the tables in another order: both end well."""
    engine = open_ledger(postgres_url)
    upgrade_tables(engine)
    steps = later_steps(tmp_path, _TWO_TABLES)
    with ThreadPoolExecutor(1) as pool:
        with engine.connect() as other:
            # So the upgrade, which waits for less long before it looks for a deadlock, is the one that fails.
            other.execute(text("SET LOCAL deadlock_timeout = '60s'"))
            other.execute(text("SELECT count(*) FROM api_keys"))
            upgraded = pool.submit(upgrade_tables, engine, steps)
            wait_until(lambda: _waits_for_a_lock(engine), "it waits for the second table")
            other.execute(text("SELECT count(*) FROM integrations"))
        taken = upgraded.result()
    engine.dispose()

    assert [step.revision for step in taken] == ["9001"]


def _waits_for_a_lock(engine: Engine) -> bool:
    with reading(engine) as connection:
        waits = connection.execute(
            text(
                "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity USING (pid)"
                " WHERE NOT l.granted AND datname = current_database()"
            )
        )
        return bool(waits.scalar_one())


def test_a_release_is_a_revision() -> None:
    """The last step that a release brought; one that brought none is not known."""
    assert own_steps().revision_of("0.1.0") == "0007"
    assert own_steps().revision_of(__version__) == own_steps().head
    with pytest.raises(NotFoundError, match=r"give one of 0\.1\.0, "):
        own_steps().revision_of("7.7.7")
    with pytest.raises(NotFoundError, match="this release has 0001 to"):
        own_steps().get("0000")


def test_what_a_step_does_is_read_from_it(tmp_path: Path) -> None:
    """Who waits for it, and what is lost, in each database."""
    [expands, contracts] = later_steps(tmp_path, EXPANDS, CONTRACTS).all[-2:]
    [added] = changes_of([expands], "postgresql")
    [dropped] = changes_of([contracts], "postgresql")
    [rewritten] = changes_of([contracts], "sqlite")
    [undone] = changes_of([expands], "postgresql", undone=True)

    assert added.words == "adds the column integrations.lane"
    assert added.additive is True
    assert added.wait is Wait.MOMENT
    assert (dropped.additive, dropped.wait, dropped.lost) == (False, Wait.MOMENT, "disabled_ms")
    assert rewritten.wait is Wait.ALL
    assert (undone.table, undone.lost) == ("integrations", "lane")
    assert statements_of([expands], "postgresql") == ["ALTER TABLE integrations ADD COLUMN lane TEXT"]


def test_no_table_is_locked_while_an_index_is_made_on_another() -> None:
    """PostgreSQL keeps a lock until the end; a change says that readers of the table wait."""
    changes = changes_of(_WITH_A_ROW, "postgresql")
    locked: set[str] = set()
    for change in changes:
        if change.wait in {Wait.WRITERS, Wait.ALL}:
            assert locked <= {change.table}, f"locked while a step {change.words}"
        if change.wait in {Wait.MOMENT, Wait.ALL}:
            locked.add(change.table)
    waits = {change.words: change.wait for change in changes}
    in_sqlite = {change.words: change.wait for change in changes_of(_WITH_A_ROW, "sqlite")}

    assert waits["makes the index dead_letters_of_tenant"] is Wait.ALL
    assert waits["adds the column deliveries.content"] is Wait.MOMENT
    assert in_sqlite["makes the index dead_letters_of_tenant"] is Wait.WRITERS


#: Changes of tables, and whether each only adds to them.
CHANGES = {
    'op.add_column("replays", sa.Column("a", sa.Text()))': True,
    'op.add_column("replays", sa.Column("a", sa.Text(), nullable=False, server_default=""))': True,
    'op.add_column("replays", sa.Column("a", sa.Text(), nullable=False))': False,
    'op.create_index("a", "replays", ["note"])': True,
    'op.create_index("a", "replays", ["note"], unique=True)': False,
    'op.drop_index("replays_age", "replays")': False,
    'op.rename_table("replays", "a")': False,
    'op.execute("UPDATE replays SET rate = 1")': False,
    'op.drop_table("replays")': False,
}


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_what_only_adds_is_distinguished_from_what_does_not(
    tmp_path: Path, dialect: str, subtests: pytest.Subtests
) -> None:
    """Older code inserts without a value for a new column, and knows only the rules of its own tables."""
    for place, (change, additive) in enumerate(CHANGES.items()):
        with subtests.test(change=change):
            source = EXPANDS.replace('op.add_column("integrations", sa.Column("lane", sa.Text()))', change)
            steps: Revisions = later_steps(tmp_path / str(place), source)

            assert [one.additive for one in changes_of(steps.all[-1:], dialect)] == [additive]
