"""What the options of an integration say, field by field.

Values are typed, or stand in files, or come by standard input, or are typed unseen at a prompt. Errors are
click.UsageError: they name the option, and never repeat what was read, for it may be a secret.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from worker.cli.field_options import HIDDEN_PAIR, PAIR, FormOption, path_of, spelled
from worker.cli.integration_options import COMMON_FIELDS, INTEGRATION_OPTIONS
from worker.integrations import CONFIGS
from worker.integrations.fields import ConfigField, FieldShape, fields_of
from worker.integrations.pem import pem_text
from worker.model.events import EventType

#: The options that give a field, by its type of destination and its name.
_OPTIONS: dict[tuple[str, str], list[FormOption]] = {}
for _option in INTEGRATION_OPTIONS:
    for _source in _option.sources:
        _OPTIONS.setdefault((_source.kind, _source.field.name), []).append(_option)


def options_of(kind: str, field: ConfigField) -> Sequence[FormOption]:
    """Return the options that give a field of a type of destination."""
    return _OPTIONS[kind, field.name]


def common_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that every integration has, as far as they are given."""
    options = [option for option in INTEGRATION_OPTIONS if option.gives and option.gives[0] in COMMON_FIELDS]
    return {option.gives[0]: option.value(values) for option in options if option.is_given(values)}


def event_types(values: Mapping[str, Any]) -> list[str]:
    """Return the event types that are given, or none."""
    return sorted(EventType if values["all_events"] else values["event_types"])


def destination_values(kind: str, values: Mapping[str, Any], *, ask: bool) -> dict[str, Any]:
    """Return the fields of the destination that are given; `ask` for the secrets that it lacks.

    Of a field that is one of several models, the secrets that its model lacks are asked for in any case.
    Raises click.UsageError.
    """
    read: dict[str, Any] = {}
    for field in fields_of(CONFIGS[kind]):
        if field.is_tag:
            value: Any = _model(kind, field, values)
        elif field.tag is None:
            value = field_value(kind, field, values, ask=ask and field.required)
        else:
            continue
        if value is not None:
            read[path_of(field)] = value
    return read


def _model(kind: str, mark: ConfigField, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a field that is one of several models, as its option says, or the options that go with one."""
    inner: dict[str, list[ConfigField]] = {tag: [] for tag in mark.choices}
    for field in fields_of(CONFIGS[kind]):
        if field.tag and field.tag[0] == mark.name:
            inner[field.tag[1]].append(field)
    given = {
        tag: [option for field in own for option in options_of(kind, field) if option.is_given(values)]
        for tag, own in inner.items()
    }
    [option] = options_of(kind, mark)
    said = {spelled(tag): tag for tag in mark.choices}.get(option.value(values), option.value(values))
    tag = said or next((tag for tag, options in given.items() if options), None)
    if tag is None:
        return None
    for other, options in given.items():
        for one in options:
            if one not in given.get(tag, ()):
                goes_with, not_with = (f"{option.flag} {spelled(each)}" for each in (other, tag))
                raise click.UsageError(f"{one.flag} goes with {goes_with}, not with {not_with}")
    prefix, name = f"{path_of(mark)}.", mark.name.rpartition(".")[2]
    read = {
        field.name.removeprefix(prefix): field_value(kind, field, values, ask=field.required)
        for field in inner.get(tag, ())
    }
    return {name: tag} | {field: value for field, value in read.items() if value is not None}


def field_value(kind: str, field: ConfigField, values: Mapping[str, Any], *, ask: bool = False) -> Any:
    """Read one field from the options that give it; None where there are none. Raises click.UsageError."""
    options = options_of(kind, field)
    given = {option.flag: option.value(values) for option in options if option.is_given(values)}
    flag = options[0].flag
    if field.shape is FieldShape.HIDDEN and (given or ask):
        typed = next((value for value in given.values() if isinstance(value, str)), None)
        return secret(field.noun, flag, given.get(flag), typed)
    value = next(iter(given.values()), None)
    if value is None:
        return None
    match field.shape:
        case FieldShape.PEM | FieldShape.HIDDEN_PEM:
            value = pem_in(flag, value)
        case FieldShape.PAIRS:
            value = pairs(flag, value, "=", PAIR)
        case FieldShape.HIDDEN_PAIRS:
            value = _pairs_and_files(options, values)
        case FieldShape.HIDDEN_LIST:
            value = [text_in(flag, path) for path in value]
        case FieldShape.CHECK if not options[0].secondary_opts:
            value = not field.default
    return value


def _pairs_and_files(options: Sequence[FormOption], values: Mapping[str, Any]) -> dict[str, str]:
    """Return the pairs that are given, typed or in files."""
    in_files, typed = {}, {}
    for option in options:
        if option.sources[0].from_file:
            texts = [text_in(option.flag, path) for path in option.value(values)]
            lines = [line for text in texts for line in text.splitlines() if line.strip()]
            in_files = pairs(option.flag, lines, ":", f"{HIDDEN_PAIR}, one a line")
        else:
            typed = pairs(option.flag, option.value(values), ":", f"'{HIDDEN_PAIR}'")
    if twice := in_files.keys() & typed.keys():
        flags = " and ".join(option.flag for option in options)
        raise click.UsageError(f"{flags} both have {min(twice)}: give it once")
    return typed | in_files


def text_in(flag: str, path: Path) -> str:
    """Read a file, UTF-8 without the white space around it; - is standard input."""
    try:
        text = _content(path).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise click.UsageError(f"{flag}: {path} holds no text")
    return text


def pem_in(flag: str, path: Path) -> str:
    """Read a file in PEM, with anything around its blocks, in whichever encoding; - is standard input."""
    text = pem_text(_content(path)).strip()
    if not text:
        raise click.UsageError(f"{flag}: {path} is empty")
    return text


def _content(path: Path) -> bytes:
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def secret(what: str, flag: str, path: Path | None, given: str | None = None) -> str:
    """Return a secret that was given, or is in a file, or else is typed unseen at the terminal."""
    if given is not None and path is not None:
        raise click.UsageError(f"give {flag.removesuffix('-file')} or {flag}, not both")
    if path is not None:
        return text_in(flag, path)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError(f"the {what} is missing, and there is no terminal to ask at: give {flag}")
    typed: str = click.prompt(f"{what} (not shown)", hide_input=True, err=True)
    return typed


def pairs(flag: str, given: Iterable[str], separator: str, example: str) -> dict[str, str]:
    """Read `NAME<separator>VALUE` of each, without the white space around both; no name may come twice."""
    read: dict[str, str] = {}
    for number, one in enumerate(given, 1):
        name, found, value = (part.strip() for part in one.partition(separator))
        if not found:
            raise click.UsageError(f"{flag}: number {number} is not written as {example}")
        if name in read:
            raise click.UsageError(f"{flag}: {name} comes twice: give it once")
        read[name] = value
    return read
