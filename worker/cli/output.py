"""Tables for people, JSON for scripts, times that a person reads at a glance.

Whatever text comes in, from an event, a SIEM's answer or a name, only printable characters go out:
none reaches the reader's terminal.
"""

import json
import math
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from pydantic_core import to_jsonable_python

from worker.model import untrusted_text
from worker.model.time import in_utc

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_GAP = "  "
#: The narrowest that a column becomes.
_SHORTEST = 12

plain = untrusted_text.plain

as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of text."
)


def print_json(value: Any) -> None:
    """Print one JSON document, in ASCII: the same in every terminal and every pipe.

    Documents of `worker.views` are taken as they are.
    """
    click.echo(json.dumps(value, indent=2, default=to_jsonable_python))


def print_items(items: Sequence[Any]) -> None:
    """Print a list that has no further page, in the shape of all lists."""
    print_json({"items": items, "next": None})


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    """Print a line for each row, whole, however long; or the sentence that says why there is none.

    Lines are never folded: `grep` and `less -S` want them whole, and so does a terminal that is resized.
    """
    if not rows:
        click.echo(empty)
        return
    for line in table_lines(columns, rows):
        click.echo(line)


def table_lines(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    shrinking: Sequence[int] = (),
    room: int | None = None,
) -> list[str]:
    """Return the heading and a line for each row.

    If there is only `room` for so many columns of text, the cells of the `shrinking` columns are cut, the
    first of them first, to no less than 12.
    """
    lines = [[column.upper() for column in columns], *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(_width, cells)) for cells in zip(*lines, strict=True)]
    for column in shrinking:
        beyond = sum(widths) + len(_GAP) * (len(widths) - 1) - (room or math.inf)
        if beyond > 0:
            widths[column] = max(min(widths[column], _SHORTEST), widths[column] - int(beyond))
    numeric = [_is_numeric(values) for values in zip(*rows, strict=True)] or [False] * len(columns)
    return [_GAP.join(map(_padded, map(_cut, line, widths), widths, numeric)).rstrip() for line in lines]


def _cut(text: str, width: int) -> str:
    """Cut a text to a width, and say so."""
    if _width(text) <= width:
        return text
    kept = text
    while _width(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…"


def when(milliseconds: int | None) -> str:
    """Show a time as UTC to the millisecond."""
    if milliseconds is None:
        return ""
    return in_utc(milliseconds).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")


def count_text(number: int, noun: str, plural: str = "") -> str:
    """Count things: `1 event`, `2 events`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


class Since(click.ParamType[int]):
    """A time in the past: `15m`, `1h`, `2d`, or an RFC 3339 timestamp; given on as ms since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Count back from now. A time without a zone is refused, as by the API: it is ambiguous."""
        if isinstance(value, int):
            return value
        short = re.fullmatch(r"([0-9]{1,6})([smhd])", value)
        if short:
            ago = int(short[1]) * _UNITS[short[2]]
            return round((datetime.now(UTC).timestamp() - ago) * 1000)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: give 30s, 15m, 1h, 2d or 2026-11-22T10:00:00Z", param, ctx)
        if moment.tzinfo is None:
            self.fail(
                f"{value!r} names no zone: give 2026-11-22T10:00:00Z, or +01:00 in place of Z", param, ctx
            )
        return round(moment.timestamp() * 1000)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return plain(str(value))


def _is_numeric(values: Sequence[Any]) -> bool:
    return all(value is None or isinstance(value, (int, float)) for value in values)


def _padded(text: str, width: int, is_numeric: bool) -> str:  # noqa: FBT001 - given by map, by its place
    gap = " " * (width - _width(text))
    return gap + text if is_numeric else text + gap


def _width(text: str) -> int:
    """Count the columns that a terminal needs: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def confirm(question: str, nothing: str, remarks: Iterable[str] = ()) -> None:
    """Ask before what cannot be undone. Raises ClickException with `nothing`, which says what was not done.

    Without a terminal no one can be asked: that is a UsageError, which names `--yes`.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"{nothing}: there is no terminal to ask at, so give --yes")
    for remark in remarks:
        click.echo(remark, err=True)
    if not click.confirm(plain(question), err=True):
        raise click.ClickException(nothing)
