"""Writes figures as Prometheus reads them (text format 0.0.4).

Comes in: families of samples. Goes out: text, in which no label can break out of its quotes.
"""

from collections.abc import Iterable

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_IN_LABEL = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


def labels(**values: str) -> str:
    """Write labels, in braces."""
    return "{" + ",".join(f'{name}="{value.translate(_IN_LABEL)}"' for name, value in values.items()) + "}"


class Exposition:
    """The text of one scrape, on its way."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lines: list[str] = []

    def gauge(self, name: str, meaning: str, samples: Iterable[tuple[str, float]]) -> None:
        """Tell figures that go up and down: each with its labels, as `labels` writes them, or none."""
        self._family(name, "gauge", meaning, samples)

    def counter(self, name: str, meaning: str, samples: Iterable[tuple[str, float]]) -> None:
        """Tell figures that only grow; the name ends in `_total`."""
        self._family(name, "counter", meaning, samples)

    def text(self) -> str:
        """Return all that was told."""
        return "\n".join([*self._lines, ""])

    def _family(self, name: str, kind: str, meaning: str, samples: Iterable[tuple[str, float]]) -> None:
        self._lines += (f"# HELP {name} {meaning.translate(_IN_HELP)}", f"# TYPE {name} {kind}")
        self._lines += [f"{name}{labelled} {value}" for labelled, value in samples]
