"""Tables for people, JSON for scripts, times that a person reads at a glance."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    """Print a table, or the sentence that says why there is none. Cells are plain text, never markup."""
    if not rows:
        click.echo(empty)
        return
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        numeric = all(isinstance(row[number], (int, float)) or row[number] is None for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    # A pipe has no width of its own: leave lines whole for grep.
    console.print(table, width=None if console.is_terminal else 250)


def when(milliseconds: int | None) -> str:
    """Show a time as UTC to the millisecond."""
    if milliseconds is None:
        return ""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")


class Since(click.ParamType[int]):
    """A time in the past: `15m`, `1h`, `2d`, or an RFC 3339 timestamp; given on as ms since 1970."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reckon from now."""
        if isinstance(value, int):
            return value
        short = re.fullmatch(r"(\d{1,6})([smhd])", value)
        if short:
            ago = int(short[1]) * _UNITS[short[2]]
            return round((datetime.now(UTC).timestamp() - ago) * 1000)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: give 15m, 1h, 2d or 2026-11-22T10:00:00Z", param, ctx)
        return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", " ")
    return str(value)
