"""`siem settings`: what a process would read here."""

import json
from pathlib import Path

import pytest

from tests.cli.running import call
from worker.settings import Settings


def test_values_are_shown_with_their_source_and_secrets_are_not(tmp_path: Path) -> None:
    """Who wonders why a process behaves so reads what it was told, and by which variable."""
    (tmp_path / "keys").write_text("hunter2")
    given = {
        "SIEM_SLOTS": "9",
        "SIEM_ALLOWED_NETWORKS": "10.0.0.0/8, 192.0.2.1",
        "SIEM_METRICS_TOKEN": "hunter2",
        "SIEM_SECRET_KEYS_FILE": str(tmp_path / "keys"),
    }
    printed = call(given, "settings", "--json").out
    shown = {one["variable"]: one for one in json.loads(printed)["items"]}

    assert list(shown) == [f"SIEM_{name.upper()}" for name in Settings.model_fields]
    assert shown["SIEM_SLOTS"] == {
        "variable": "SIEM_SLOTS",
        "value": "9",
        "secret": False,
        "set": True,
        "source": "SIEM_SLOTS",
    }
    assert shown["SIEM_ALLOWED_NETWORKS"]["value"] == "10.0.0.0/8,192.0.2.1/32"
    assert shown["SIEM_LEASE"]["value"] == "60"
    assert shown["SIEM_LEASE"]["source"] == "default"
    assert shown["SIEM_SECRET_KEYS"]["source"] == "SIEM_SECRET_KEYS_FILE"
    assert shown["SIEM_SECRET_KEYS"]["value"] is None
    text = call(given, "settings").out
    assert ["SIEM_SECRET_KEYS", "…", "SIEM_SECRET_KEYS_FILE"] in [line.split() for line in text.splitlines()]
    assert "hunter2" not in printed + text


def test_a_wrong_setting_is_named_as_everywhere() -> None:
    """The command is also a check of a new environment file."""
    ran = call({"SIEM_SLOTS": "many"}, "settings")

    assert ran.code == 2
    assert "SIEM_SLOTS" in ran.complaint


@pytest.mark.parametrize("variable", ["SIEM_SLOTS", "SIEM_REDIS_URL_FILE"])
def test_the_file_needs_no_valid_setting(variable: str) -> None:
    """It is the way to valid settings."""
    ran = call({variable: "many"}, "settings", "--env")

    assert ran.code == 0
    assert "#SIEM_SLOTS=4" in ran.out.splitlines()
    assert call({}, "settings", "--env", "--json").code == 2
