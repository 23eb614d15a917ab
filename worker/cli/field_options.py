"""One option of the form that an integration is made with, and a command whose help has sections.

Comes in: the name of a field of the models. Goes out: an option that knows which types of destination it
goes with, and whose help tells the models' own defaults and bounds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from worker.integrations import SplunkHec, SyslogCef, Webhook
from worker.integrations.integration import Integration

GENERAL = "General"

#: The models of the destinations, by type.
MODELS: dict[str, type[SplunkHec | SyslogCef | Webhook]] = {
    model.model_fields["type"].default: model for model in (SplunkHec, SyslogCef, Webhook)
}

_SCHEMAS = {kind: model.model_json_schema()["properties"] for kind, model in MODELS.items()}
_INTEGRATION = Integration.model_json_schema()["properties"]
_CLICK_TYPES: dict[str, type] = {"integer": int, "number": float, "string": str, "boolean": bool}
_METAVARS = {"integer": "NUMBER", "number": "SECONDS", "string": "TEXT"}


class FormOption(click.Option):
    """An option under a heading of help; left out, it is None, so that the model's own default holds.

    `gives` are the fields of an integration that it is read into, as errors name them; `types` those of
    the destinations that it goes with, which are all unless they are given.
    """

    def __init__(
        self,
        *declarations: str,
        section: str = GENERAL,
        gives: Sequence[str] = (),
        types: Iterable[str] = tuple(MODELS),
        **attributes: Any,
    ) -> None:
        """Take what a click option takes, too."""
        # click takes even an explicit None for a given value, so that nothing required would be missing.
        if not attributes.get("required"):
            attributes["default"] = None
        super().__init__(declarations, **attributes)
        self.section = section
        self.gives = gives
        self.types = tuple(types)

    @property
    def flag(self) -> str:
        """Its first name, with the hyphens."""
        return self.opts[0]

    def is_given(self, values: Mapping[str, Any]) -> bool:
        """Whether it stands on the command line, going by the values of all options."""
        return values[self.name or ""] not in (None, ())


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


def field_option(field: str, declaration: str, words: str, **attributes: Any) -> FormOption:
    """Make the option of one field, which goes with the types that have that field.

    What its help says behind the words, its bounds and its default, is what the models say.
    """
    schemas = _schemas(field)
    first = next(iter(schemas.values()))
    facts = "; ".join(fact for fact in (_bounds(first), _defaults(schemas, declaration)) if fact)
    return FormOption(
        declaration,
        field,
        gives=(field,),
        types=schemas,
        help=f"{words}.{facts and f'  [{facts}]'}",
        **{**_read_as(first), **attributes},
    )


def _schemas(field: str) -> dict[str, dict[str, Any]]:
    """Return, by type of destination, the schema of what the field may be, leaving None aside."""
    found = {kind: fields[field] for kind, fields in _SCHEMAS.items() if field in fields}
    found = found or dict.fromkeys(_SCHEMAS, _INTEGRATION[field])
    return {kind: {**schema, **schema.get("anyOf", [{}])[0]} for kind, schema in found.items()}


def _read_as(schema: dict[str, Any]) -> dict[str, Any]:
    """Say as what click shall read it; bounds are left to the model."""
    if "enum" in schema:
        return {"type": click.Choice(schema["enum"])}
    return {"type": _CLICK_TYPES[schema["type"]], "metavar": _METAVARS.get(schema["type"])}


def _bounds(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if most is None:
        return ""
    return f"up to {most}" if least is None else f"{least} to {most}"


def _defaults(schemas: dict[str, dict[str, Any]], declaration: str) -> str:
    """Say the default, and of which types it is if it is not that of all."""
    kinds: dict[str, list[str]] = {}
    for kind, schema in schemas.items():
        if (default := schema.get("default")) is not None:
            kinds.setdefault(_typed(default, declaration), []).append(kind)
    if not kinds:
        return ""
    common = max(kinds, key=lambda default: len(kinds[default]))
    others = [f"{default} for {', '.join(kinds[default])}" for default in kinds if default != common]
    return f"default: {', '.join([common, *others])}" if common else ""


def _typed(default: Any, declaration: str) -> str:
    """Write a default as it would be typed: of a switch its name, which is none if it is off as a rule."""
    if isinstance(default, bool):
        names = [*declaration.replace("--", "").split("/"), ""]
        return names[0] if default else names[1]
    return f"{default:g}" if isinstance(default, float) else str(default)
