"""Code of others that lies in the repository is named, with its version and licence, beside it."""

import re
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
BUNDLED = {
    TOP / "worker/pages/static/htmx.min.js": TOP / "worker/pages/NOTICE.txt",
    TOP / "tests/browser/axe.min.js": TOP / "tests/browser/NOTICE.txt",
}


def test_every_bundled_script_has_a_notice() -> None:
    """Minified code is what others wrote: nothing here is built."""
    found = {*TOP.glob("worker/**/*.min.*"), *TOP.glob("tests/**/*.min.*"), *TOP.glob("deploy/**/*.min.*")}

    assert found == BUNDLED.keys()


@pytest.mark.parametrize("script", BUNDLED, ids=lambda path: path.name)
def test_the_notice_names_the_version(script: Path) -> None:
    """An update of the script that forgets the notice fails here."""
    text, notice = script.read_text(), BUNDLED[script].read_text()
    found = re.search(r'version:"([\d.]+)"|axe v([\d.]+)', text)
    assert found is not None
    version = found[1] or found[2]

    assert script.name in notice
    assert f"{version}, " in notice
    assert f"tag v{version}" in notice


def test_the_package_carries_its_licences() -> None:
    """The licence of the whole, and the notice of what the package contains of others."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]

    assert project["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (TOP / "LICENSE").read_text()
    assert [name for name in project["license-files"] if not (TOP / name).is_file()] == []
    assert "worker/pages/NOTICE.txt" in project["license-files"]
