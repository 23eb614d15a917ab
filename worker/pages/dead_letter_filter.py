"""Which dead letters a page shows and a replay means: from the fields of a form to a selection, and back.

Every selection is bound to the user's tenant, whatever the form says.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Self

from worker.api.problems import Problem
from worker.model.deliveries import Cause
from worker.model.events import EventType
from worker.model.replays import DeadLetterFilter

#: A form may leave anything out.
_ANY = ""


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """The fields as they were filled in; times are UTC, to the minute."""

    integration: str = _ANY
    cause: str = _ANY
    code: str = _ANY
    type: str = _ANY
    since: str = _ANY
    until: str = _ANY
    id: str = _ANY

    @classmethod
    def of(cls, fields: Mapping[str, object], integration_id: str | None = None) -> Self:
        """Read the fields of a query or form. Raises Problem naming the one that is wrong."""
        given = {name: str(fields.get(name, _ANY)).strip() for name in cls.__slots__}
        if integration_id is not None:
            given["integration"] = integration_id
        _one_of("cause", given["cause"], [cause.value for cause in Cause])
        _one_of("type", given["type"], [kind.value for kind in EventType])
        return cls(**given)

    def selection(self, tenant_id: str) -> DeadLetterFilter:
        """Return what is meant, of this tenant. Raises Problem when a time is none."""
        return DeadLetterFilter(
            ids=_tuple(self.id),
            integration_id=self.integration or None,
            tenant_id=tenant_id,
            since_ms=moment_in("since", self.since),
            until_ms=moment_in("until", self.until),
            event_types=_tuple(self.type),
            causes=_tuple(self.cause),
            codes=_tuple(self.code),
        )

    @property
    def fields(self) -> dict[str, str]:
        """The fields that say something."""
        return {name: value for name, value in asdict(self).items() if value}


def _tuple(text: str) -> tuple[str, ...]:
    return (text,) if text else ()


def _one_of(field: str, value: str, words: list[str]) -> None:
    if value and value not in words:
        raise Problem(422, f"{field}: is none of {', '.join(words)}", field=field)


def moment_in(field: str, text: str) -> int | None:
    """Return the time in a field of a form, in ms since 1970 UTC; None if it is empty. Raises Problem."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Problem(422, f"{field}: is no time; give one like 2026-11-22T10:00", field=field) from None
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(zoned.timestamp() * 1000)
