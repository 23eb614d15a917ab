"""What users of the project rely on, as text: publisher, settings, commands, routes, metrics.

    .venv/bin/python -m tests.project.public_surface > tests/project/public_surface.txt

renews the text that `test_public_surface.py` compares the code with.
"""

import inspect
from collections.abc import Iterable, Iterator
from itertools import chain

import click
from fastapi import APIRouter
from fastapi.routing import APIRoute

from worker.api.app import PREFIX, ROUTERS, TOP
from worker.api.metric_definitions import METRICS
from worker.api.metric_registry import INTEGRATION_LABELS
from worker.cells import CellPublisher
from worker.cli import siem
from worker.publisher import EventPublisher, Receipt
from worker.settings import Settings


def public_surface() -> str:
    """Return the surface, one name a line."""
    parts = {
        "from worker.publisher import": [*_methods(EventPublisher), f"Receipt({', '.join(Receipt._fields)})"],
        "from worker.cells import": _methods(CellPublisher),
        "environment": _settings(),
    }
    parts |= {"commands": commands("siem", siem), "HTTP API": _routes(), "metrics": _metrics()}
    return "\n".join(chain.from_iterable((f"[{title}]", *lines, "") for title, lines in parts.items()))


def _methods(publisher: type) -> Iterator[str]:
    yield f"{publisher.__name__}{inspect.signature(publisher)}"
    for name, member in vars(publisher).items():
        if not name.startswith("_") and callable(member):
            yield f"{publisher.__name__}.{name}{inspect.signature(member)}"


def _settings() -> list[str]:
    return sorted(f"SIEM_{name.upper()}" for name in Settings.model_fields)


def commands(path: str, command: click.Command) -> Iterator[str]:
    """Yield a command with its arguments and options, then the commands below it."""
    names = [max(one.opts, key=len) if isinstance(one, click.Option) else one.name for one in command.params]
    if not isinstance(command, click.Group):
        yield " ".join([path, *(name or "" for name in names)])
        return
    with click.Context(command) as context:
        for name in sorted(command.list_commands(context)):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(f"{path} {name}", below)


def _routes() -> list[str]:
    return sorted([*_paths(ROUTERS, PREFIX), *_paths(TOP, "")])


def _paths(routers: Iterable[APIRouter], prefix: str) -> Iterator[str]:
    for route in chain.from_iterable(router.routes for router in routers):
        if isinstance(route, APIRoute) and route.include_in_schema:
            yield from (f"{prefix}{route.path} {method}" for method in route.methods or ())


def _metrics() -> list[str]:
    return sorted(
        " ".join([one.name, *(INTEGRATION_LABELS if one.per_integration else ()), *one.labels])
        for one in METRICS.all
    )


if __name__ == "__main__":
    click.echo(public_surface(), nl=False)
