"""What a module takes of the ledger and of Redis has a type: `Ledger`, `Client`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

WORKER = Path(__file__).parents[2] / "worker"
#: What is never `Any`.
NAMES = {"engine", "ledger", "client", "reserve"}


def untyped(source: str) -> Iterator[str]:
    """Yield a word for each of these names that is annotated as `Any`, and each alias of `Any`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.arg(arg=name, annotation=ast.Name(id="Any")) if name in NAMES:
                yield name
            case ast.AnnAssign(target=ast.Name(id=name), annotation=ast.Name(id="Any")) if name in NAMES:
                yield name
            case ast.AnnAssign(target=ast.Attribute(attr=name), annotation=ast.Name(id="Any")):
                if name.strip("_") in NAMES:
                    yield name
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id="Any")):
                yield f"{name} = Any"


def test_ledger_and_redis_have_types() -> None:
    """In every module."""
    found = {
        str(path.relative_to(WORKER)): words
        for path in sorted(WORKER.rglob("*.py"))
        if (words := list(untyped(path.read_text())))
    }

    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "def f(engine: Any) -> None: ...",
        "class A:\n    ledger: Any = 1",
        "class A:\n    def __init__(self, client):\n        self._client: Any = client",
        "Ledger = Any",
    ],
)
def test_what_has_none_is_found(source: str) -> None:
    """As a parameter, a field, an attribute, and by another name."""
    assert len(list(untyped(source))) == 1
