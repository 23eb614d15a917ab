"""README.md and deploy/README.md describe the settings and events of the code."""

import re
from pathlib import Path

from worker.model.events import EventType
from worker.settings import Settings

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text()
MOST_LINES = 200


def test_every_setting_is_listed_with_its_default() -> None:
    """The table of settings is that of the code, defaults included."""
    text = (TOP / "deploy" / "README.md").read_text()
    listed = dict(re.findall(r"^\| `(SIEM_\w+)` \| ([^|]+?) \|", text, flags=re.MULTILINE))

    assert set(listed) == {f"SIEM_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, bool):
            assert listed[f"SIEM_{name.upper()}"] == str(field.default).lower()
        elif isinstance(field.default, (int, float)):
            assert float(listed[f"SIEM_{name.upper()}"]) == field.default


def test_every_event_type_is_listed() -> None:
    """The eleven types are in the table of fields."""
    assert all(f"`{event_type}`" in README for event_type in EventType)


def test_the_first_page_is_short() -> None:
    """A newcomer reads it in a few minutes; what is longer has a README of its own."""
    assert len(README.splitlines()) <= MOST_LINES
