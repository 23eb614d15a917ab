"""A form's values: from an integration, and to the document that the API would take.

Input: the fields as a browser sends them. Output: a flat document, in which a secret that was left empty
is left out: it stays as it is. Texts that are no numbers are passed on, for the model to complain about.

What stands in a form before a user changes it: defaults, an integration, or what they had written.

A secret is never among it, not even for the one who wrote it a moment ago: only the mark that it is set, or
is kept from the last attempt.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import to_jsonable_python
from starlette.datastructures import FormData

from worker.integrations import CONFIGS
from worker.integrations.fields import ConfigField, FieldShape
from worker.integrations.integration import Integration, at_once
from worker.model.errors import InvalidInput, InvalidIntegration, NotFoundError
from worker.model.events import DEFAULT_EVENT_TYPES
from worker.pages.form_fields import all_fields
from worker.pages.form_tokens import field_digest
from worker.views.integrations import COMMON

_PAIRS = frozenset({FieldShape.PAIRS, FieldShape.HIDDEN_PAIRS})
#: A secret of this name is to be forgotten.
FORGET = "forget:"


def document_in(form: FormData, kind: str) -> dict[str, Any]:
    """Return the document; `judged_form` names the lines that are left out because they are no pairs."""
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
        if field.shape is FieldShape.PAIRS and isinstance(before := shown.get(field.name), Mapping):
            patch[field.name] = dict.fromkeys(before) | (patch[field.name] or {})
    return patch


def _is_there(field: ConfigField, form: FormData) -> bool:
    return field.shown_when is None or text_of(form, field.shown_when[0]) == field.shown_when[1]


def _value(field: ConfigField, form: FormData) -> Iterator[tuple[str, Any]]:
    """Yield path and value, or nothing for a secret that stays; None stands for the default."""
    text = text_of(form, field.name)
    if field.shape.is_secret and not text:
        if FORGET + field.name in form:
            yield field.name, None
        return
    if field.shape is FieldShape.CHECK:
        yield field.name, bool(text)
    elif field.shape in _PAIRS:
        yield field.name, _pairs(text)
    elif field.shape is FieldShape.HIDDEN_LIST:
        yield field.name, text.split()
    elif field.shape is FieldShape.LIST:
        yield field.name, [line.strip() for line in text.splitlines() if line.strip()]
    elif not text:
        yield field.name, None
    elif field.unit is not str:
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
        if field.shape in _PAIRS and not all(colon for _, colon, _ in _parted(text_of(form, field.name)))
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


#: Characters of what another one has saved that a note repeats at the most.
_LONGEST_NOTE = 200


@dataclass(frozen=True, slots=True)
class FormValues:
    """The values of a form's fields by name; those of secrets are marks, or the names of secret pairs."""

    kind: str
    name: str
    event_types: frozenset[str]
    values: Mapping[str, Any]


def known(kind: str) -> str:
    """Return the type. Raises NotFoundError when there is no such type."""
    if kind not in CONFIGS:
        raise NotFoundError("there is no such type of integration")
    return kind


def blank(kind: str) -> FormValues:
    """Return the form of an integration that says nothing of itself."""
    model = CONFIGS[kind]
    common = {name: _default(Integration, name) for name in COMMON}
    own = {name: _default(model, name) for name in model.model_fields}
    types = sorted(DEFAULT_EVENT_TYPES)
    return filled_from({**common, **own, "type": kind, "name": "", "event_types": types})


def filled_from(shown: Mapping[str, Any]) -> FormValues:
    """Return the form of an integration, given as the API shows it."""
    kind = shown["type"]
    values = {field.name: _shown(field, _at(shown, field.name)) for field in all_fields(kind)}
    return FormValues(kind, shown["name"], frozenset(shown["event_types"]), values)


def refilled(form: FormData, kind: str, shown: Mapping[str, Any] | None = None) -> FormValues:
    """Return the form as a user had filled it in; its secrets are those of the integration, if any."""
    before = filled_from(shown).values if shown else {}
    values = {field.name: _written(field, form, before) for field in all_fields(kind)}
    return FormValues(kind, text_of(form, "name"), frozenset(map(str, form.getlist("event_types"))), values)


def texts_of(filled: FormValues) -> dict[str, str]:
    """Return what a browser would send of each field; of secrets, nothing."""
    fields = [field for field in all_fields(filled.kind) if not field.shape.is_secret]
    return {
        "name": filled.name,
        "event_types": ", ".join(sorted(filled.event_types)),
        **{field.name: _text(filled.values[field.name]) for field in fields},
    }


def merged(
    mine: FormValues, theirs: FormValues, seen: Mapping[str, str]
) -> tuple[FormValues, dict[str, str]]:
    """Return what a user typed over what another one has saved meanwhile, and a note for each difference.

    `seen` has the digests of what stood in the form at first: a field that was left as it was takes over what
    was saved.
    """
    saved, notes, taken = texts_of(theirs), {}, set()
    for name, typed in texts_of(mine).items():
        if typed == saved[name]:
            continue
        if field_digest(typed) == seen.get(name):
            taken.add(name)
            notes[name] = "Changed meanwhile to what stands here."
        elif field_digest(saved[name]) != seen.get(name):
            notes[name] = f"Saved meanwhile: {_value_text(mine.kind, name, saved[name])}"
    filled = replace(
        mine,
        name=theirs.name if "name" in taken else mine.name,
        event_types=theirs.event_types if "event_types" in taken else mine.event_types,
        values={name: (theirs if name in taken else mine).values[name] for name in mine.values},
    )
    return filled, notes


def _value_text(kind: str, name: str, text: str) -> str:
    """Write what stands in a field in words for people."""
    field = next((field for field in all_fields(kind) if field.name == name), None)
    if field is not None and field.shape is FieldShape.CHECK:
        return "on" if text else "off"
    choices = dict(field.options) if field is not None else {}
    words = choices.get(text, text) or "nothing"
    return words if len(words) <= _LONGEST_NOTE else f"{words[:_LONGEST_NOTE]} …"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value).replace("\r\n", "\n").strip()


def _default(model: Any, name: str) -> Any:
    field = model.model_fields[name]
    return None if field.is_required() else to_jsonable_python(field.get_default(call_default_factory=True))


def _written(field: ConfigField, form: FormData, before: Mapping[str, Any]) -> Any:
    if field.shape.is_secret:
        return before.get(field.name)
    return text_of(form, field.name) or (False if field.shape is FieldShape.CHECK else "")


def _at(document: Mapping[str, Any], path: str) -> Any:
    first, dot, rest = path.partition(".")
    value = document.get(first)
    if not dot:
        return value
    return _at(value, rest) if isinstance(value, Mapping) else None


def _shown(field: ConfigField, value: Any) -> Any:
    if field.shape is FieldShape.PAIRS and isinstance(value, Mapping):
        return "\n".join(f"{name}: {text}" for name, text in value.items())
    if field.shape is FieldShape.LIST and isinstance(value, list):
        return "\n".join(value)
    if field.shape is FieldShape.HIDDEN_PAIRS and isinstance(value, Mapping):
        return ", ".join(value)
    if field.shape is FieldShape.HIDDEN_LIST and isinstance(value, list):
        return str(len(value)) if value else ""
    return value
