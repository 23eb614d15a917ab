"""README.md tells a newcomer the truth."""

import re
from pathlib import Path

from worker.model.events import EventType
from worker.settings import Settings

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_every_setting_is_listed_with_its_default() -> None:
    """The table of settings is that of the code, defaults included."""
    listed = dict(re.findall(r"^\| `(SIEM_\w+)` \| ([^|]+?) \|", README, flags=re.MULTILINE))

    assert set(listed) == {f"SIEM_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, (int, float)):
            assert float(listed[f"SIEM_{name.upper()}"]) == field.default


def test_every_event_type_is_listed() -> None:
    """The eleven types stand in the table of fields."""
    assert all(f"`{event_type}`" in README for event_type in EventType)
