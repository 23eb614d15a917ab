"""No property test depends on how busy the machine is: hypothesis has no deadline here."""

import ast
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
from hypothesis import strategies as st

TESTS = Path(__file__).parent.parent
#: Longer than hypothesis gives one example where nothing is said (200 ms).
SLOW_SECONDS = 0.3


@st.composite
def _slow_values(draw: st.DrawFn) -> int:
    """Draw a number slowly, as a machine at a load average of 30 does."""
    time.sleep(SLOW_SECONDS)
    return draw(st.integers())


def test_a_slow_machine_fails_no_property() -> None:
    """Neither drawing nor running is timed: five examples take longer than either limit of hypothesis."""
    seen: list[int] = []

    @hypothesis.settings(max_examples=5, database=None)
    @hypothesis.given(_slow_values())
    def holds(value: int) -> None:
        time.sleep(SLOW_SECONDS)
        seen.append(value)

    holds()

    assert len(seen) >= 5


def test_no_test_sets_a_limit_of_its_own() -> None:
    """A deadline, or a list of checks without `too_slow`, would bring the clock back in."""
    limits = [
        f"{path.relative_to(TESTS)}:{call.lineno}"
        for path in TESTS.rglob("*.py")
        if "hypothesis" in (text := path.read_text())
        for call in _calls(ast.parse(text))
        if any(_is_a_limit(keyword) for keyword in call.keywords)
    ]

    assert limits == []


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield each call of `settings`, however it is imported, and of what makes a profile of it."""
    names = {"settings", "register_profile"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names:
            yield node


def _is_a_limit(keyword: ast.keyword) -> bool:
    said = ast.unparse(keyword.value)
    if keyword.arg == "suppress_health_check":
        return "too_slow" not in said and said != "list(HealthCheck)"
    return keyword.arg == "deadline" and said != "None"
