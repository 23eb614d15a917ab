"""Options of the command line, each made of a field of integrations; and a command whose help has sections.

An option goes with the types of destination that have its field. Several types may have a field for the same
flag: then one option serves all of them, and its help says what differs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from worker.destinations.registry import named
from worker.integrations import CONFIGS
from worker.integrations.fields import ConfigField, FieldShape, fields_of, sentence

GENERAL = "General"
PAIR, HIDDEN_PAIR = "NAME=VALUE", "NAME: VALUE"

_FROM_FILES = {
    FieldShape.PEM,
    FieldShape.HIDDEN,
    FieldShape.HIDDEN_PEM,
    FieldShape.HIDDEN_PAIRS,
    FieldShape.HIDDEN_LIST,
}
_SEVERAL = {FieldShape.PAIRS, FieldShape.LIST, FieldShape.HIDDEN_PAIRS, FieldShape.HIDDEN_LIST}
_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_OR_STDIN = "from a file, or - for standard input"


@dataclass(frozen=True, slots=True)
class FieldSource:
    """One way to give a field of one type of destination: its value, or a file with it."""

    kind: str
    field: ConfigField
    from_file: bool


class FormOption(click.Option):
    """An option under a heading of help; left out, it is None, so that the model's own default holds.

    `gives` are the fields of an integration that it is read into, as errors name them; `types` those of
    the destinations that it goes with, which are all unless it has `sources`.
    """

    def __init__(
        self,
        *declarations: str,
        section: str = GENERAL,
        gives: Sequence[str] = (),
        sources: Sequence[FieldSource] = (),
        **attributes: Any,
    ) -> None:
        """Take what a click option takes, too."""
        # click takes even an explicit None for a given value, so that nothing required would be missing.
        if not attributes.get("required"):
            attributes["default"] = None
        super().__init__(declarations, **attributes)
        self.section = section
        self.gives = gives or [path_of(source.field) for source in sources]
        self.sources = sources
        self.types = tuple(dict.fromkeys(source.kind for source in sources)) or tuple(CONFIGS)

    @property
    def flag(self) -> str:
        """Its first name, with the hyphens."""
        return self.opts[0]

    def is_given(self, values: Mapping[str, Any]) -> bool:
        """Whether it stands on the command line, going by the values of all options."""
        return self.value(values) not in (None, ())

    def value(self, values: Mapping[str, Any]) -> Any:
        """Return its own value."""
        return values[self.name or ""]


class SectionedCommand(click.Command):
    """Shows its options under the headings that they name."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, each in the order of its options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(param, "section", GENERAL), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def path_of(field: ConfigField) -> str:
    """Return the path of a field in the document; of one that says which model is meant, the model's."""
    return field.name.rpartition(".")[0] if field.is_tag else field.name


def spelled(tag: str) -> str:
    """Write the value that says which model is meant as it is typed."""
    return tag.replace("_", "-")


def destination_options() -> dict[str, FormOption]:
    """Return the options of the fields of all types, by flag, in the order of types and fields."""
    sources: dict[str, list[FieldSource]] = {}
    for kind, config in CONFIGS.items():
        for field in fields_of(config):
            for declaration, from_file in _declarations(field):
                sources.setdefault(declaration, []).append(FieldSource(kind, field, from_file))
    return {
        declaration.partition("/")[0]: _option(declaration, found) for declaration, found in sources.items()
    }


def common_option(field: ConfigField, **attributes: Any) -> FormOption:
    """Return the option of a field that every integration has, whatever its type."""
    [(declaration, _)] = _declarations(field)
    source = FieldSource("", field, from_file=False)
    words = {"help": _help(declaration, [source]), **_read_as(declaration, [source]), **attributes}
    return FormOption(declaration, gives=[field.name], **words)


def _declarations(field: ConfigField) -> Iterator[tuple[str, bool]]:
    """Yield the flags of a field, and whether each takes a file."""
    about, name = field.about, f"--{path_of(field).replace('.', '-').replace('_', '-')}"
    if field.shape not in _FROM_FILES:
        yes_and_no = f"{name}/--no-{name[2:]}" if field.shape is FieldShape.CHECK else name
        yield about.flag or yes_and_no, False
        return
    ways = [(about.file_flag or f"{about.flag or name}-file", True), (about.flag, False)]
    if field.shape is FieldShape.HIDDEN_PAIRS:
        ways.reverse()
    yield from ((flag, from_file) for flag, from_file in ways if flag)


def _option(declaration: str, sources: Sequence[FieldSource]) -> FormOption:
    first = sources[0]
    if any(one.field.shape is not first.field.shape or one.from_file != first.from_file for one in sources):
        msg = f"{declaration} stands for fields of several shapes: give one of them another flag"
        raise TypeError(msg)
    several = len({one.kind for one in sources}) > 1
    section = GENERAL if several else f"{named(first.kind).label} (--type {first.kind})"
    return FormOption(
        declaration,
        section=first.field.about.section or section,
        sources=sources,
        help=_help(declaration, sources),
        **_read_as(declaration, sources),
    )


def _read_as(declaration: str, sources: Sequence[FieldSource]) -> dict[str, Any]:
    """Return as what click shall read it; bounds are left to the model."""
    source = sources[0]
    field, metavar = source.field, source.field.about.metavar
    several = {"multiple": True} if field.shape in _SEVERAL else {}
    if source.from_file:
        return {"type": _FILE, "metavar": "FILE", **several}
    match field.shape:
        case FieldShape.CHECK:
            return {"type": bool} if "/" in declaration else {"is_flag": True}
        case FieldShape.CHOICE if field.unit is str:
            choices = [choice for one in sources for choice in one.field.choices]
            return {
                "type": click.Choice(list(dict.fromkeys(map(spelled, choices) if field.is_tag else choices)))
            }
        case FieldShape.NUMBER | FieldShape.CHOICE:
            usual = "SECONDS" if field.name.endswith("_seconds") else "NUMBER"
        case FieldShape.PAIRS:
            usual = PAIR
        case FieldShape.HIDDEN_PAIRS:
            usual = f"'{HIDDEN_PAIR}'"
        case FieldShape.HIDDEN:
            usual = declaration.rpartition("-")[2].upper()
        case _:
            usual = "TEXT"
    return {"type": field.unit, "metavar": metavar or usual, **several}


def _help(declaration: str, sources: Sequence[FieldSource]) -> str:
    """Return the help: the clauses of all types, and what the models say."""
    first = sources[0]
    shape, noun = first.field.shape, first.field.noun
    clauses = list(dict.fromkeys(map(_clause, sources)))
    if shape is FieldShape.HIDDEN and first.from_file:
        what = ", or ".join(clauses) + ("," if len(clauses) > 1 else "")
        return f"Read {what} {_OR_STDIN}.{_asking(sources)}"
    if shape is FieldShape.HIDDEN:
        noun = declaration.removeprefix("--").replace("-", " ")
        return (
            f"The {noun} itself. Others on this machine can see it while the command runs: rather use "
            f"{_file_flag(first)}."
        )
    if shape is FieldShape.HIDDEN_PAIRS and first.from_file:
        return f"Read {noun} {_OR_STDIN}: one `{HIDDEN_PAIR}` a line."
    if shape is FieldShape.HIDDEN_PAIRS:
        text = sentence(f"{clauses[0]}; repeat it for several")
        return f"{text} For a secret, rather use {_file_flag(first)}."
    text = "; ".join(clauses)
    if shape in _SEVERAL and not first.field.about.flag_help:
        text += "; repeat it for several" if not first.from_file else f" {_OR_STDIN}; repeat it for several"
    facts = _facts(declaration, sources)
    chosen = " Left out, derived from those." if first.field.is_tag else ""
    return sentence(text) + chosen + (f"  [{facts}]" if facts else "")


def _clause(source: FieldSource) -> str:
    fields = fields_of(CONFIGS[source.kind]) if source.kind else ()
    flags = {path_of(one): next(_declarations(one))[0].partition("/")[0] for one in fields}
    about = source.field.about
    return about.text(flags.__getitem__, about.flag_help)


def _asking(sources: Sequence[FieldSource]) -> str:
    """Return when a secret is asked for."""
    if not any(one.field.required for one in sources):
        return ""
    tag = sources[0].field.tag
    if len(sources) > 1:
        return " Left out where one is needed, you are asked for it."
    if tag is None:
        return " Left out, you are asked for it."
    path, value = tag
    return f" Left out with --{path.rpartition('.')[0]} {spelled(value)}, you are asked for it."


def _file_flag(source: FieldSource) -> str:
    return next(flag for flag, from_file in _declarations(source.field) if from_file)


def _facts(declaration: str, sources: Sequence[FieldSource]) -> str:
    """Say bounds and default, and of which types they are where they are not those of all."""
    bounds = _by_type((_bounds(source.field), source.kind) for source in sources)
    default = _by_type((_typed(source.field, declaration), source.kind) for source in sources)
    return "; ".join(fact for fact in (bounds, default and f"default: {default}") if fact)


def _by_type(facts: Iterable[tuple[str, str]]) -> str:
    kinds: dict[str, list[str]] = {}
    for fact, kind in facts:
        if fact:
            kinds.setdefault(fact, []).append(kind)
    most = max(kinds, key=lambda fact: len(kinds[fact]), default="")
    return ", ".join([most, *(f"{fact} for {', '.join(kinds[fact])}" for fact in kinds if fact != most)])


def _bounds(field: ConfigField) -> str:
    least, most = field.bounds
    if most is None:
        return ""
    return f"up to {most}" if least is None else f"{least} to {most}"


def _typed(field: ConfigField, declaration: str) -> str:
    """Write a default as it would be typed; nothing where there is none, or the flag is its opposite."""
    if field.default is None or field.shape in _SEVERAL or field.is_tag:
        return ""
    if field.shape is FieldShape.CHECK:
        yes, slash, no = declaration.partition("/")
        return (yes if field.default else no).removeprefix("--") if slash else ""
    return f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
