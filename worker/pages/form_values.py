"""From a form to the document that the API would take.

Comes in: the fields as a browser sends them. Goes out: a flat document, in which a secret that was left empty
is left out: it stays as it is. Texts that are no numbers are passed on, for the model to complain about.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from starlette.datastructures import FormData

from worker.integrations.integration import Integration, at_once
from worker.model.errors import InvalidInput, InvalidIntegration
from worker.pages.form_fields import Field, FieldKind, all_fields

SECRETS = frozenset({FieldKind.HIDDEN, FieldKind.HIDDEN_LINES, FieldKind.HIDDEN_PAIRS, FieldKind.HIDDEN_LIST})
_PAIRS = frozenset({FieldKind.PAIRS, FieldKind.HIDDEN_PAIRS})
#: A secret of this name is to be forgotten.
FORGET = "forget:"


def document_in(form: FormData, kind: str) -> dict[str, Any]:
    """Return the document; `judged_form` tells of the lines that are left out because they are no pairs."""
    document: dict[str, Any] = {"type": kind, "name": text_of(form, "name") or None}
    for field in all_fields(kind):
        if not _is_there(field, form):
            continue
        for path, value in _value(field, form):
            _put(document, path, value)
    types = form.getlist("event_types")
    document["event_types"] = sorted(str(one) for one in types)
    return document


def patch_in(form: FormData, kind: str, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document as a merge patch of what is shown: what was taken away is null."""
    patch = document_in(form, kind)
    for field in all_fields(kind):
        if field.kind is FieldKind.PAIRS and isinstance(before := shown.get(field.name), Mapping):
            patch[field.name] = dict.fromkeys(before) | (patch[field.name] or {})
    return patch


def _is_there(field: Field, form: FormData) -> bool:
    other, equals, wanted = field.when.partition("=")
    return not equals or text_of(form, other) == wanted


def _value(field: Field, form: FormData) -> Iterator[tuple[str, Any]]:
    """Yield path and value, or nothing for a secret that stays; None stands for the default."""
    text = text_of(form, field.name)
    if field.kind in SECRETS and not text:
        if FORGET + field.name in form:
            yield field.name, None
        return
    if field.kind is FieldKind.CHECK:
        yield field.name, bool(text)
    elif field.kind in _PAIRS:
        yield field.name, _pairs(text)
    elif field.kind is FieldKind.HIDDEN_LIST:
        yield field.name, text.split()
    elif not text:
        yield field.name, None
    elif field.kind is FieldKind.NUMBER or field.name == "max_retries":
        yield field.name, _number(text)
    else:
        yield field.name, text


def judged_form(form: FormData, kind: str, judge: Callable[[], Integration]) -> Integration:
    """Return what `judge` makes of the form. Raises InvalidIntegration: its errors, and the form's own."""
    mistakes = _mistakes_in(form, kind)
    try:
        integration = judge()
    except InvalidIntegration as error:
        raise at_once([*mistakes, *error.all]) from None
    if mistakes:
        raise at_once(mistakes)
    return integration


def _mistakes_in(form: FormData, kind: str) -> list[InvalidInput]:
    """Return what is wrong with the form itself, whatever the document would say."""
    return [
        InvalidIntegration(field.name, "a line is not like name: value", "write a colon between both")
        for field in all_fields(kind)
        if field.kind in _PAIRS and not all(colon for _, colon, _ in _parted(text_of(form, field.name)))
    ]


def _pairs(text: str) -> dict[str, str]:
    return {name.strip(): value.strip() for name, colon, value in _parted(text) if colon}


def _parted(text: str) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in map(str.strip, text.splitlines()) if line]


def _number(text: str) -> Any:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    first, dot, rest = path.partition(".")
    if dot:
        _put(document.setdefault(first, {}), rest, value)
    else:
        document[first] = value


def text_of(form: FormData, name: str) -> str:
    """Return what was filled in, without spaces around it."""
    value = form.get(name, "")
    # Browsers send every line end as CR and LF.
    return value.replace("\r\n", "\n").strip() if isinstance(value, str) else ""
