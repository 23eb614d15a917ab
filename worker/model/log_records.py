"""How a fact is logged: an event's name, a sentence for people, and fields for programs.

Why the standard library, and no library of structured logging: Celery, kombu, uvicorn and SQLAlchemy log
through it, so that their records pass our formatter in any case (`worker.logging`), and cleaning records of
all libraries needs our own record class there.
"""

import logging
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from string import Formatter

Field = str | int | float | bool | None

#: The fields that say which batch a line is about. While a batch is delivered, each of our lines has them.
#: `trace` only if the batch is traced.
BOUND = ("integration", "tenant", "type", "slot", "epoch", "batch", "trace")

_bound: ContextVar[dict[str, Field] | None] = ContextVar("log_fields", default=None)


class _Binding:
    """What `bind_fields` returns; each batch enters one, and a generator costs three times as much."""

    __slots__ = ("_fields", "_token")

    _token: Token[dict[str, Field] | None]

    def __init__(self, fields: dict[str, Field]) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._token = _bound.set((_bound.get() or {}) | self._fields)

    def __exit__(self, *_: object) -> None:
        _bound.reset(self._token)


def bind_fields(**fields: Field) -> AbstractContextManager[None]:
    """Give these fields, and those of blocks around it, to each of our lines that this thread logs in it."""
    return _Binding(fields)


def bind_more(**fields: Field) -> None:
    """Give further fields to the lines of the innermost block; without one, does nothing."""
    bound = _bound.get()
    if bound is not None:
        bound.update(fields)


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A fact that can be logged, as `noun.verb`; the catalogue is `worker.model.log_events`.

    `sentence` shows some fields in braces; `extra` names those that it does not show, with blanks between.
    """

    level: int
    name: str
    sentence: str
    extra: str = ""

    @property
    def shown(self) -> frozenset[str]:
        """The fields that the sentence shows."""
        return frozenset(field for _, field, _, _ in Formatter().parse(self.sentence) if field)

    def log(
        self,
        to: logging.Logger,
        *,
        level: int | None = None,
        exc_info: BaseException | bool | None = None,
        **fields: Field,
    ) -> None:
        """Log it with its fields, and those of the batch under way; `level` if it is not the event's own."""
        at = self.level if level is None else level
        if to.isEnabledFor(at):
            whole = (_bound.get() or {}) | fields
            extra = {"event": self, "fields": whole}
            to.log(at, "%s", self.sentence.format_map(whole), exc_info=exc_info, extra=extra, stacklevel=2)
