"""The environment file for production names every setting, and both of its readers understand it."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from worker.cli.settings import environment_file
from worker.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "siem.env.example"
#: The most that systemd and compose read alike: no quote, no backslash, no `$`, no comment behind the value.
_PLAIN = re.compile(r"#(SIEM_[A-Z_]+)=([^\s'\"\\$#]*)")


def test_the_example_is_made_from_the_settings() -> None:
    """To renew it: `.venv/bin/siem settings --env > deploy/siem.env.example`."""
    assert EXAMPLE.read_text() == environment_file()


def test_every_line_is_a_comment_or_a_plain_assignment() -> None:
    """A comment that ends in a backslash would go on in the next line for systemd."""
    for line in EXAMPLE.read_text().splitlines():
        assert not line.endswith("\\"), line
        assert not line or line == "#" or line.startswith(("# ", "#####")) or _PLAIN.fullmatch(line), line


def test_what_it_gives_as_defaults_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who removes each # changes nothing."""
    assignments = dict(_PLAIN.findall(EXAMPLE.read_text()))
    secret = {
        f"SIEM_{name.upper()}" for name, one in Settings.model_fields.items() if one.annotation is SecretStr
    }

    assert set(assignments) == {f"SIEM_{name.upper()}" for name in Settings.model_fields} | {
        f"{name}_FILE" for name in secret
    }
    for name, value in assignments.items():
        if value and not name.endswith("_FILE"):
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    assert Settings() == Settings.model_construct()
