"""What is wrong with a form, in words for the one who filled it in."""

from collections.abc import Iterable

from worker.api.merging import REMEDY
from worker.api.problems import Problem
from worker.model.errors import InvalidInput, InvalidIntegration, SecretUnreadable


def error_text(error: InvalidInput | SecretUnreadable | Problem) -> str:
    """Return field, reason and hint of all that is wrong; not the hint that only helps who calls the API."""
    if isinstance(error, InvalidInput):
        return "; ".join(f"{one.field}: {_words(one)}" for one in error.all)
    return str(error)


def error_texts(error: InvalidIntegration | Problem) -> dict[str, str]:
    """Return what is wrong with each field, by its path in the API's document; "" is the form as a whole."""
    if isinstance(error, Problem):
        return {str(error.more.get("field", "")): str(error)}
    told: dict[str, str] = {}
    for one in error.all:
        told[one.field] = f"{told[one.field]}; {_words(one)}" if one.field in told else _words(one)
    return told


def beside(fields: Iterable[str], told: dict[str, str]) -> dict[str, str]:
    """Return what is to be said beside each of these fields of a form: also of a part of it, or the whole."""
    return {
        name: "; ".join(said)
        for name in fields
        if (said := [words for path, words in told.items() if _is_about(path, name)])
    }


def _is_about(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.") or (path != "" and name == f"{path}.kind")


def _words(error: InvalidInput) -> str:
    return error.reason if error.hint == REMEDY else f"{error.reason}; {error.hint}"
