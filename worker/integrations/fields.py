"""What a field of an integration says of itself: its words, its flag, its place in a form.

Each field of a configuration carries a `Described` in its annotation. The command line makes an option of it,
the pages a field of a form, the API a description in its schema; `fields_of` lists them, with those of nested
models by their path, as `auth.token`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from inspect import get_annotations
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, GetJsonSchemaHandler, SecretStr
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, to_jsonable_python

_FIELD_NAME = re.compile(r"\{([a-z_.]+)\}")


class FieldShape(StrEnum):
    """What a field holds, and so how it is filled in and read; what is hidden is secret."""

    TEXT = "text"
    NUMBER = "number"
    CHECK = "check"
    CHOICE = "choice"
    PEM = "pem"
    #: Text by name.
    PAIRS = "pairs"
    LIST = "list"
    HIDDEN = "hidden"
    HIDDEN_PEM = "hidden_pem"
    HIDDEN_PAIRS = "hidden_pairs"
    HIDDEN_LIST = "hidden_list"

    @property
    def is_secret(self) -> bool:
        """Whether what it holds is never shown."""
        return self.value.startswith("hidden")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The words of one field, for each of the places where a person meets it.

    `help` is a clause in lower case without its period: `{use_ack}` in it stands for another field, which the
    command line calls --use-ack and the API `use_ack`. `more` are sentences that only the API adds.
    """

    help: str
    more: str = ""

    #: In a form: its label, what stands below it, what it shows while it is empty, and the words of its
    #: choices by value, "" for none of them. What is not `advanced` is always open.
    label: str
    hint: str = ""
    placeholder: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    advanced: bool = True

    #: On the command line: `--flag` takes the value, `--x-file` a file with it, which is the only way to give
    #: a secret unless it has a flag as well. Left out, they are made of the field's name. `--gzip/--no-gzip`
    #: says yes and no; a single flag of a yes or no stands for what is not the default.
    flag: str = ""
    file_flag: str = ""
    metavar: str = ""
    #: Its help, where `help` does not do.
    flag_help: str = ""
    #: The heading of its help, where that is not the type's.
    section: str = ""

    #: Of urls: one of each way, with a remark behind it.
    addresses: tuple[str, ...] = ()
    #: Another field and its value without which this one has no effect, and what the url must say (TLS, UDP).
    when: tuple[str, Any] | None = None
    over: str = ""
    #: A number of few values, which a form lets choose.
    is_choice: bool = False

    def text(self, name_of: Callable[[str], str], clause: str = "") -> str:
        """Return a clause, `help` if none is given, with each field named as the reader knows it."""
        return _FIELD_NAME.sub(lambda found: name_of(found[1]), clause or self.help)

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the field in the API's schema."""
        text = sentence(self.text(lambda name: f"`{name}`"))
        return {**handler(core_schema), "description": f"{text} {self.more}".rstrip()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigField:
    """A field, with what its model says of it.

    `name` is its path in the API's document, `unit` what a single value is: str, int, float or bool. Of a
    field that only one of several models has, `tag` is the path of the field that says which model is meant,
    and the value that means this one.
    """

    name: str
    about: Described
    shape: FieldShape
    unit: type = str
    required: bool
    default: Any = None
    bounds: tuple[Any, Any] = (None, None)
    choices: tuple[str, ...] = ()
    #: Whether its value says which of several models is meant.
    is_tag: bool = False
    tag: tuple[str, str] | None = None

    @property
    def noun(self) -> str:
        """Its label as it stands within a sentence: `bearer token`, `API key`."""
        label = self.about.label
        return label if label[1:2].isupper() else label[:1].lower() + label[1:]

    @property
    def shown_when(self) -> tuple[str, str] | None:
        """Which choice, by field and value, a form must show for this field to be there; None if any."""
        of_choice = self.about.when if self.about.when and isinstance(self.about.when[1], str) else None
        return self.tag or of_choice

    @property
    def options(self) -> list[tuple[str, str]]:
        """Each choice with its words; the first is "" where none need be made."""
        empty = ("",) if self.default is None and not self.required else ()
        return [(value, self.about.words.get(value, value)) for value in (*empty, *self.choices)]


def sentence(clause: str) -> str:
    """Write a clause as a sentence."""
    return f"{clause[:1].upper()}{clause[1:]}."


@cache
def fields_of(model: type[BaseModel], names: tuple[str, ...] = ()) -> tuple[ConfigField, ...]:
    """Return the fields of a configuration, its own before inherited ones; `names` alone, if given.

    Raises TypeError for one, other than `type`, that has no Described, or whose type has no FieldShape.
    """
    own_first = dict.fromkeys(name for base in model.__mro__ for name in get_annotations(base))
    return tuple(
        one
        for name in names or own_first
        if name != "type" and name in model.model_fields
        for one in _fields_at(name, model.model_fields[name])
    )


def _fields_at(name: str, info: FieldInfo) -> Iterator[ConfigField]:
    about = next((one for one in info.metadata if isinstance(one, Described)), None)
    if about is None:
        msg = f"the field {name} has no Described in its annotation"
        raise TypeError(msg)
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    one = ConfigField(
        name=name,
        about=about,
        shape=FieldShape.CHOICE,
        required=info.is_required(),
        default=to_jsonable_python(default),
    )
    if info.discriminator is None:
        yield _shaped(one, _without_none(info.annotation), info)
    else:
        yield from _of_several(one, str(info.discriminator), get_args(info.annotation))


def _shaped(one: ConfigField, annotation: Any, info: FieldInfo) -> ConfigField:
    """Return the field with its shape, its bounds and its choices."""
    if get_origin(annotation) is Literal:
        return replace(one, choices=tuple(map(str, get_args(annotation))))
    least, most = (_bound(info, end) for end in ("ge", "le"))
    shape, unit = _shape_of(annotation, one.name)
    found = replace(one, shape=shape, unit=unit, bounds=(least, most))
    if not found.about.is_choice:
        return found
    return replace(found, shape=FieldShape.CHOICE, choices=tuple(map(str, range(least, most + 1))))


def _bound(info: FieldInfo, end: str) -> Any:
    return next((getattr(one, end) for one in info.metadata if hasattr(one, end)), None)


def _of_several(one: ConfigField, mark: str, models: tuple[type[BaseModel], ...]) -> Iterator[ConfigField]:
    """Yield the field that says which model is meant, then those of each model. Raises TypeError."""
    # The API merges a change into the old value unless its `kind` is another one.
    if mark != "kind":
        msg = f"the models of {one.name} are distinguished by {mark}: name that field kind"
        raise TypeError(msg)
    tags = [str(model.model_fields[mark].default) for model in models]
    path = f"{one.name}.{mark}"
    default = one.default[mark] if one.default else None
    yield replace(one, name=path, default=default, choices=tuple(tags), is_tag=True)
    for tag, model in zip(tags, models, strict=True):
        if own := tuple(name for name in model.model_fields if name != mark):
            for inner in fields_of(model, own):
                yield replace(inner, name=f"{one.name}.{inner.name}", tag=(path, tag))


_SHAPES = {
    bool: FieldShape.CHECK,
    int: FieldShape.NUMBER,
    float: FieldShape.NUMBER,
    str: FieldShape.TEXT,
    SecretStr: FieldShape.HIDDEN,
}
_PEMS = {FieldShape.TEXT: FieldShape.PEM, FieldShape.HIDDEN: FieldShape.HIDDEN_PEM}
_SHAPES_OF_ITEMS: dict[tuple[Any, ...], FieldShape] = {
    (dict, str): FieldShape.PAIRS,
    (dict, SecretStr): FieldShape.HIDDEN_PAIRS,
    (tuple, str): FieldShape.LIST,
    (tuple, SecretStr): FieldShape.HIDDEN_LIST,
}


def _shape_of(annotation: Any, name: str) -> tuple[FieldShape, type]:
    """Return what a field of this type holds, and what a single value of it is. Raises TypeError."""
    if isinstance(annotation, type):
        for unit, shape in _SHAPES.items():
            if issubclass(annotation, unit):
                is_pem = name.endswith("_pem")
                return _PEMS.get(shape, shape) if is_pem else shape, str if unit is SecretStr else unit
    items = [_without_none(item) for item in get_args(annotation) if item is not Ellipsis]
    of_items = (get_origin(annotation), *items[-1:])
    if of_items not in _SHAPES_OF_ITEMS:
        msg = f"the field {name} is of a type that no form has: {annotation}"
        raise TypeError(msg)
    return _SHAPES_OF_ITEMS[of_items], str


def _without_none(annotation: Any) -> Any:
    """Return a type without the None that it may be, and without what is annotated to it."""
    if get_origin(annotation) in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not NoneType]
        annotation = parts[0] if len(parts) == 1 else annotation
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
