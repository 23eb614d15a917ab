"""What users rely on changes on purpose only, and where a reviewer sees it."""

from pathlib import Path

from tests.project.public_surface import public_surface

PINNED = Path(__file__).with_name("public_surface.txt")


def test_the_public_surface_is_the_pinned_one() -> None:
    """A name that goes breaks scripts of users. To change the text, see `public_surface.py`."""
    assert public_surface().splitlines() == PINNED.read_text().splitlines()
