"""What is written as an array of PostgreSQL comes back as it was, and costs the driver nothing."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.ledger.bulk import as_array
from worker.ledger.engine import open_ledger, reading

_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.lists(st.none() | _TEXTS, min_size=1),
    "bigint": st.lists(st.none() | st.integers(-(1 << 63), (1 << 63) - 1), min_size=1),
    "bytea": st.lists(st.binary(), min_size=1),
    "boolean": st.lists(st.booleans(), min_size=1),
}


def test_each_value_comes_back(postgres_url: str) -> None:
    """Quotes, backslashes, commas, braces, the word NULL, and nothing at all."""
    engine = open_ledger(postgres_url)

    def returned(column: list[Any], kind: str) -> list[Any]:
        with reading(engine) as connection:
            statement = f"SELECT * FROM unnest(%s::{kind}[])"  # noqa: S608 - a name of ours
            return list(connection.exec_driver_sql(statement, (as_array(column),)).scalars())

    @given(st.data())
    @settings(deadline=None, max_examples=60)
    def comes_back(data: st.DataObject) -> None:
        for kind, columns in _COLUMNS.items():
            column: list[Any] = data.draw(columns)
            assert returned(column, kind) == column

    comes_back()
    awkward = ["NULL", "", '"', "\\", "{a,b}", "\n", "\\x41", " ", None]
    assert returned(awkward, "text") == awkward
    engine.dispose()
