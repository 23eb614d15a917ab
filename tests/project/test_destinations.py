"""Which destinations there are is known to their own modules, to the registry and to the demo alone.

The import contracts hold it for imports; this holds it for names in code, docstrings and templates.
"""

import re
from pathlib import Path

from worker.destinations.registry import DESTINATIONS

PRODUCT = Path(__file__).parents[2] / "worker"
#: What may name any of them.
SHARED = ("integrations", "demo", "destinations/registry.py")
#: Words that mean something else as well, such as where health is notified: as types they are quoted.
COMMON_WORDS = {"webhook"}


def test_no_other_module_names_a_destination() -> None:
    """Neither its type nor the class of its configuration."""
    assert len(DESTINATIONS) > 2
    for name, destination in DESTINATIONS.items():
        quoted = rf"[\"'`]{name}[\"'`]" if name in COMMON_WORDS else name
        pattern = re.compile(rf"{quoted}|\b{destination.config.__name__}\b")
        assert _naming(pattern, (*SHARED, f"destinations/{name}")) == [], name


def _naming(pattern: re.Pattern[str], allowed: tuple[str, ...]) -> list[str]:
    """Return the lines of the product that match outside these folders and files, as `file:number`."""
    return [
        f"{path.relative_to(PRODUCT)}:{number}"
        for path in sorted(PRODUCT.rglob("*"))
        if path.suffix in {".py", ".html"} and not path.relative_to(PRODUCT).as_posix().startswith(allowed)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
