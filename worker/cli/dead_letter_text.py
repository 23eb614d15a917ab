"""How dead letters look to people: rows, fields, payloads, counts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.cli.output import count_text, print_table, when
from worker.ledger.attempts import AttemptRow
from worker.ledger.dead_letters import DeadLetterCount
from worker.ledger.results import DeadLetterRow
from worker.model.untrusted_json import payload_text


def dead_letter_row_cells(letter: DeadLetterRow, names: Mapping[str, str]) -> list[Any]:
    """Return the cells of one line of the list."""
    return [
        letter.id,
        when(letter.dead_ms),
        names.get(letter.integration_id or "", letter.integration_id),
        letter.event_id,
        letter.event_type,
        letter.cause.value,
        letter.attempts,
        letter.error,
        letter.hint,
    ]


def letter_fields(letter: DeadLetterRow, names: Mapping[str, str]) -> list[list[Any]]:
    """Return a row for each field but the payload."""
    return [
        ["id", letter.id],
        ["integration", names.get(letter.integration_id or "", letter.integration_id)],
        ["event", letter.event_id],
        ["type", letter.event_type],
        ["happened", when(letter.event_ms) if letter.event_ms else None],
        ["published", when(letter.published_ms)],
        ["dead since", when(letter.dead_ms)],
        ["cause", letter.cause.value],
        ["attempts", letter.attempts],
        ["HTTP status", letter.http_status],
        ["reason", letter.error_code],
        ["error", letter.error],
        ["hint", letter.hint],
        ["state", _state(letter)],
    ]


def payload_lines(payload: bytes) -> list[str]:
    """Return the lines of a payload for people; see `payload_text`."""
    return payload_text(payload).split("\n")


def print_attempts(attempts: Sequence[AttemptRow]) -> None:
    """Print a line for each attempt: when it ended, which one it was, and what was answered."""
    print_table(
        ["when", "attempt", "then", "http", "answer"],
        [[when(one.at_ms), one.number, one.status.value, one.http_status, one.error] for one in attempts],
        empty="",
    )


def groups(found: DeadLetterCount, names: Mapping[str, str]) -> list[list[Any]]:
    """Return a row for each integration and reason, the largest first."""
    largest_first = sorted(found.groups.items(), key=lambda group: -group[1])
    return [[names.get(home or "", home), code, count] for (home, code), count in largest_first]


def shortfall(found: DeadLetterCount) -> Iterator[str]:
    """Yield a sentence for each kind of letters that a replay leaves out."""
    if found.invalid:
        yield (
            f"{count_text(found.invalid, 'dead letter')} never held a valid event: `siem dead-letters "
            "correct` publishes one corrected."
        )
    if found.unreadable:
        yield (
            f"{count_text(found.unreadable, 'dead letter')} cannot be replayed: damaged in Redis. `siem "
            "dead-letters show` has the bytes; publish again what is right in them."
        )
    if found.homeless:
        yield (
            f"{count_text(found.homeless, 'dead letter')} had an integration that was deleted: "
            "--into sends them to another one."
        )


def _state(letter: DeadLetterRow) -> str:
    since = f" since {when(letter.state_ms)}" if letter.state_ms else ""
    return f"{letter.state.value}{since}{f' by {letter.replay_id}' if letter.replay_id else ''}"
