"""An integration: one customer's SIEM, what it wants to receive, and how to reach it.

Secrets are `SecretStr` while they are in memory and sealed text everywhere else (see
`worker.vault.vault`); nothing here can print one by accident.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError, PydanticKnownError

from worker.integrations import CONFIGS, DestinationConfig, destination_types
from worker.integrations.fields import Described
from worker.integrations.secrets import SecretUrl, UnreadableSecret, UnreadableUrl, is_secret_readable
from worker.model.errors import InvalidInput, InvalidIntegration, SecretMoved, SecretUnreadable
from worker.model.events import DEFAULT_EVENT_TYPES, EventType

#: After the first attempt, an event is sent at most this often again.
MAX_RETRIES = 3


_UNKNOWN_TYPE = "destination_type"


def _read_destination(value: Any, info: ValidationInfo) -> DestinationConfig:
    """Read a destination as its type says; types may be added at any time, so no union names them."""
    if not isinstance(value, Mapping | DestinationConfig):
        raise PydanticKnownError("model_attributes_type")
    if (config := _config_of(value)) is None:
        raise PydanticCustomError(_UNKNOWN_TYPE, "no such type")
    return config.model_validate(value, context=info.context)


def _config_of(value: Any) -> type[DestinationConfig] | None:
    """Return the configuration of a destination's type, or None if there is no such type."""
    name = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return CONFIGS.get(name) if isinstance(name, str) else None


class Integration(BaseModel):
    """One destination of one tenant, and the event types that it subscribed to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    tenant_id: Annotated[
        str,
        Field(min_length=1, max_length=128),
        Described(
            label="Tenant",
            help="whose events it gets: those with this tenant_id",
            flag="--tenant",
            metavar="TENANT",
        ),
    ] = "default"
    name: Annotated[
        str,
        Field(min_length=1, max_length=200),
        Described(label="Name", help="a name of your choice, unique in the tenant", metavar="NAME"),
    ]
    enabled: bool = True
    #: Whether its events are kept waiting for now; they are collected all the same.
    paused: bool = False
    event_types: frozenset[EventType] = DEFAULT_EVENT_TYPES
    max_retries: Annotated[
        int,
        Field(ge=0, le=MAX_RETRIES),
        Described(
            label="Retries",
            help="how often an event is sent again before it becomes a dead letter",
            hint="After the first attempt, with exponential backoff.",
            is_choice=True,
        ),
    ] = MAX_RETRIES
    redrive: Annotated[
        bool,
        Described(
            label="Replay automatically after an outage",
            help="whether dead letters of an outage are replayed automatically",
            hint="Once the circuit breaker has closed. Refused events are never replayed by themselves.",
        ),
    ] = True
    destination: Annotated[
        SerializeAsAny[DestinationConfig],
        PlainValidator(_read_destination, json_schema_input_type=dict[str, Any]),
    ]

    @field_validator("event_types")
    @classmethod
    def _some_type(cls, types: frozenset[EventType]) -> frozenset[EventType]:
        if not types:
            msg = "give at least one event type, or leave it out for all but policy.allow"
            raise ValueError(msg)
        return types

    @field_validator("name", "tenant_id")
    @classmethod
    def _printable(cls, text: str) -> str:
        if not text.isprintable():
            msg = "has characters that cannot be printed"
            raise ValueError(msg)
        return text

    @property
    def type(self) -> str:
        """The destination's type, as in the API: one of `destination_types()`."""
        return self.destination.type


def parse_integration(
    document: dict[str, Any],
    hint: str = "see `siem integrations create --help`",
    *,
    stored: bool = False,
) -> Integration:
    """Read an integration from plain values; `stored` says that it was accepted at the door before.

    Raises InvalidIntegration, which names every field that is wrong (see `InvalidInput.all`), and where to
    read what would be right; it never repeats a value, for it may be a secret. That fields do not go together
    is checked once each of them is right by itself.
    """
    try:
        return Integration.model_validate(document, context={"stored": stored})
    except ValidationError as error:
        complaints = error.errors(include_input=False, include_url=False)
        config = _config_of(document.get("destination"))
        raise at_once(
            [one for complaint in complaints for one in _field_errors(complaint, config, hint)]
        ) from None


def at_once(errors: Sequence[InvalidInput]) -> InvalidIntegration:
    """Return one error that names all of these, each once; there must be one at least."""
    first, *others = {(one.field, one.reason): one for one in errors}.values()
    return InvalidIntegration(first.field, first.reason, first.hint, others)


def _field_errors(
    complaint: ErrorDetails, config: type[DestinationConfig] | None, hint: str
) -> Iterator[InvalidIntegration]:
    place = _field(complaint["loc"], config)
    if complaint["type"] == _UNKNOWN_TYPE:
        yield InvalidIntegration("type", _one_of(destination_types()), hint)
        return
    if complaint["type"].startswith("union_tag"):
        discriminator, values = _variants(config, place)
        yield InvalidIntegration(f"{place}.{discriminator}", _one_of(values), hint)
        return
    reason = complaint["msg"].removeprefix("Value error, ")
    # What is wrong with several fields together is a line for each, and may name the one to look at itself.
    for line in reason.split("\n") if not place else [reason]:
        named, colon, rest = line.partition(": ")
        if not place and colon and named.isidentifier():
            yield InvalidIntegration(named, _as_clause(rest), hint)
        else:
            whole = "destination" if complaint["loc"] else "integration"
            yield InvalidIntegration(place or whole, _as_clause(line), hint)


def _one_of(values: Sequence[str]) -> str:
    return f"give one of {', '.join(values)}"


def _field(path: tuple[int | str, ...], config: type[DestinationConfig] | None) -> str:
    """Write pydantic's path as the API names the field: flat, and without the tags that unions add."""
    parts = [str(part) for part in path]
    if parts[:1] != ["destination"]:
        return ".".join(parts)
    del parts[0]
    if parts[1:] and parts[1] in _variants(config, parts[0])[1]:
        del parts[1]
    return ".".join(parts)


def _variants(config: type[DestinationConfig] | None, name: str) -> tuple[str, tuple[str, ...]]:
    """Return the field that distinguishes the models, as `kind`, and its values; no values for one model."""
    field = config.model_fields.get(name) if config is not None else None
    if field is None or not isinstance(field.discriminator, str):
        return "", ()
    discriminator = field.discriminator
    return discriminator, tuple(
        model.model_fields[discriminator].default for model in get_args(field.annotation)
    )


def _as_clause(reason: str) -> str:
    return reason[:1].lower() + reason[1:]


_UNREADABLE = (
    "{} of integration {} cannot be opened: SIEM_SECRET_KEYS lacks the key that sealed it; add that key "
    "again, or set the secret again"
)


_MOVED = (
    "{} of integration {} is not used: it was sealed for another address, TLS option or integration, so "
    "the stored integration was modified outside of siem; a recorder renews the copy in Redis within "
    "seconds, and if this stays, set the secret again"
)


def secrets_in(integration: "Integration") -> Iterator[tuple[str, SecretStr]]:
    """Yield each secret with its path in the destination: `token`, `auth.value`, `headers.X-Team`.

    A url is one as well if it has a query.
    """
    yield from secrets_within(integration.destination.model_dump())


def secrets_within(values: Mapping[str, Any]) -> Iterator[tuple[str, SecretStr]]:
    """Yield each secret of the fields of a destination, with its path."""
    for name, value in values.items():
        yield from _within(name, value)


def unreadable_in(integration: "Integration") -> list[str]:
    """Return the paths of those of its secrets that no key opens."""
    return [path for path, secret in secrets_in(integration) if not is_secret_readable(secret)]


def moved_in(integration: "Integration") -> list[str]:
    """Return the paths of those of its secrets that were sealed for another place."""
    found = secrets_in(integration)
    return [path for path, secret in found if isinstance(secret, UnreadableSecret) and secret.moved]


def require_in_place(integration: "Integration") -> None:
    """Raise SecretMoved, which names fields and what to set, if one was sealed for another place."""
    if moved := moved_in(integration):
        raise SecretMoved(_MOVED.format(", ".join(moved), integration.name))


def require_readable_secrets(integration: "Integration") -> None:
    """Raise SecretUnreadable, which names fields and what to set, unless all its secrets have values."""
    require_in_place(integration)
    if unreadable := unreadable_in(integration):
        raise SecretUnreadable(_UNREADABLE.format(", ".join(unreadable), integration.name))


def _within(path: str, value: Any) -> Iterator[tuple[str, SecretStr]]:
    match value:
        case UnreadableUrl(sealed=sealed, moved=moved):
            yield path, UnreadableSecret(sealed, moved=moved)
        case SecretUrl() if value.has_query:
            yield path, SecretStr(value)
        case SecretStr():
            yield path, value
        case Mapping():
            for key, item in value.items():
                yield from _within(f"{path}.{key}", item)
        case list() | tuple():
            for place, item in enumerate(value):
                yield from _within(f"{path}.{place}", item)
