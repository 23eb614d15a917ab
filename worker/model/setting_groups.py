"""Groups of settings that `worker.settings` is composed of, the types of their values, and their errors.

API, memory of Redis, quotas of a tenant, Redis itself; durations that sockets, databases and clocks can hold.
"""

from collections.abc import Callable
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import NoDecode

from worker.model.errors import InvalidSetting
from worker.model.limits import DEFAULT_QUOTAS, Quotas
from worker.model.parking import Cap, MemoryPlan, memory_of
from worker.model.redis_checks import ACCEPTABLE

_DAY = 86_400
_YEAR_DAYS = 366

#: Up to a year. Times calculated with it fit into the 64 bits of the database and of Redis.
Seconds = Annotated[float, Field(le=_YEAR_DAYS * _DAY, allow_inf_nan=False)]
#: Up to a day: the kernel takes no timeout of a socket beyond 2**31 ms (24 days).
SocketSeconds = Annotated[float, Field(le=_DAY, allow_inf_nan=False)]
#: Up to a hundred years, in days.
Days = Annotated[float, Field(le=100 * _YEAR_DAYS, allow_inf_nan=False)]


class ApiSettings(BaseModel):
    """Bodies and connections of one process of the API."""

    api_body_bytes: Annotated[
        int,
        Field(ge=1024, description="The largest body of a request, and the largest that it may unpack to."),
    ] = 16_777_216
    api_body_seconds: Annotated[
        SocketSeconds, Field(gt=0, description="The longest that the body of a request may take to come.")
    ] = 30.0
    api_bodies_bytes: Annotated[
        int,
        Field(
            ge=1024,
            description="The memory for the bodies of all requests under way in one process of the API, in "
            "bytes; never less than four times `SIEM_API_BODY_BYTES`. A tenant may hold as much of it as is "
            "still free, one key half as much.",
        ),
    ] = 268_435_456
    api_connections: Annotated[
        int,
        Field(
            ge=10,
            le=100_000,
            description="Connections to one process of the API at once. An address may have as many as are "
            "still free; one of `SIEM_API_TRUSTED_PROXIES` all of them.",
        ),
    ] = 1000

    @property
    def all_bodies_bytes(self) -> int:
        """The memory for the bodies of all requests under way, in bytes: room for three large ones."""
        return max(self.api_bodies_bytes, 4 * self.api_body_bytes)


class MemorySettings(BaseModel):
    """What may wait in Redis; the database keeps what is older."""

    backlog_events: Annotated[
        int,
        Field(
            ge=1000,
            description="Events that one backlog may hold in Redis; the database keeps what is older.",
        ),
    ] = 200_000
    backlog_bytes: Annotated[
        int,
        Field(ge=1_000_000, description="Bytes of these events, as published."),
    ] = 256_000_000
    waiting_bytes: Annotated[
        int,
        Field(
            ge=0,
            description="Bytes of Redis's memory that all backlogs may take together; beyond, the largest "
            "give up their oldest events to the database. 0 is half of `maxmemory`, or 2 GB without one.",
        ),
    ] = 0

    @property
    def cap(self) -> Cap:
        """What one backlog may hold."""
        return Cap(self.backlog_events, self.backlog_bytes)

    @property
    def memory_plan(self) -> MemoryPlan:
        """What the check of Redis' memory needs to know."""
        return MemoryPlan(memory_of(self.backlog_events, self.backlog_bytes), self.waiting_bytes)


class QuotaSettings(BaseModel):
    """What one tenant may own. What it has above a lower limit keeps working; only growth is refused."""

    tenant_integrations: Annotated[
        int, Field(ge=1, description="Integrations that one tenant may have; deleted ones do not count.")
    ] = DEFAULT_QUOTAS.integrations
    integration_bytes: Annotated[
        int,
        Field(
            ge=4096,
            description="Bytes of one integration as it is stored, certificates and sealed secrets included.",
        ),
    ] = DEFAULT_QUOTAS.integration_bytes
    tenant_replays: Annotated[
        int,
        Field(ge=1, description="Replays of one tenant that may run at once, beside those made by itself."),
    ] = DEFAULT_QUOTAS.replays

    idempotency_bytes: Annotated[
        int,
        Field(
            ge=1_000_000,
            description="Bytes of Redis that the answers of one tenant to requests with an Idempotency-Key "
            "may take; beyond it the oldest are forgotten first.",
        ),
    ] = 67_108_864
    tenant_waiting_bytes: Annotated[
        int,
        Field(
            ge=1_000_000,
            description="Bytes of events of one tenant that may wait, in Redis and in the database, counted "
            "for each integration; beyond, `POST /events` answers 429 to this tenant.",
        ),
    ] = 4_000_000_000

    @property
    def quotas(self) -> Quotas:
        """What one tenant may own, as those who enforce it take it."""
        return Quotas(self.tenant_integrations, self.integration_bytes, self.tenant_replays)


class ProbeSettings(BaseModel):
    """Where each process says whether it lives and is ready."""

    probe_port: Annotated[
        int,
        Field(
            ge=0,
            le=65535,
            description="The port at which a process of the fleet answers `/livez` and `/readyz`; 0 is none.",
        ),
    ] = 0
    probe_host: Annotated[
        str, Field(min_length=1, description="The address of the machine at which it answers them.")
    ] = "127.0.0.1"


class FlowerSettings(BaseModel):
    """Where `siem flower` listens, and for whom."""

    flower_host: Annotated[
        str, Field(min_length=1, description="The address that `siem flower` listens at.")
    ] = "127.0.0.1"
    flower_port: Annotated[int, Field(ge=1, le=65535, description="Its port.")] = 5555
    flower_url_prefix: Annotated[
        str,
        Field(
            pattern=r"^/?[A-Za-z0-9._~-]*(/[A-Za-z0-9._~-]+)*/?$",
            description="The path below which a proxy serves Flower, such as `flower`; left out, none.",
        ),
    ] = ""
    flower_basic_auth: Annotated[
        SecretStr, Field(description="The login that Flower asks for, `user:password`.")
    ] = SecretStr("")

    @field_validator("flower_basic_auth")
    @classmethod
    def _is_a_login(cls, login: SecretStr) -> SecretStr:
        user, colon, password = login.get_secret_value().partition(":")
        if login.get_secret_value() and not (user and colon and password):
            msg = "must be user:password"
            raise ValueError(msg)
        return login


class TracingSettings(BaseModel):
    """Whether events are traced."""

    tracing: Annotated[
        bool,
        Field(
            description="Send traces of OpenTelemetry, from publishing to acceptance. Where to, and how "
            "many, its own variables say, such as `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_TRACES_SAMPLER`."
        ),
    ] = False


class WatchSettings(ProbeSettings, FlowerSettings, TracingSettings):
    """Where the fleet can be watched."""


class RetentionSettings(BaseModel):
    """For how long the ledger keeps what."""

    keep_deliveries_days: Annotated[
        Days, Field(gt=0, description="For how many days it is known what became of each event.")
    ] = 30.0
    keep_dead_letters_days: Annotated[
        Days, Field(gt=0, description="For how many days dead letters are kept, replayed or not.")
    ] = 90.0
    keep_parked_days: Annotated[
        Days, Field(gt=0, description="For how many days events are kept that a backlog has no room for.")
    ] = 90.0
    keep_audit_days: Annotated[
        Days, Field(gt=0, description="For how many days it is known who changed what.")
    ] = 400.0


class RedisSettings(BaseModel):
    """What an operator accepts of Redis."""

    redis_accept: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(
            description="Checks of Redis, separated by commas, whose failure only warns: `persistence` where "
            "a provider keeps writes safe without an append-only file, `eviction`."
        ),
    ] = ()

    @field_validator("redis_accept", mode="before")
    @classmethod
    def _names_checks(cls, text: object) -> object:
        if not isinstance(text, str):
            return text
        names = tuple(part.strip() for part in text.split(",") if part.strip())
        if unknown := [name for name in names if name not in ACCEPTABLE]:
            msg = (
                f"{unknown[0]!r} is no check that can be accepted; these are: {', '.join(sorted(ACCEPTABLE))}"
            )
            raise ValueError(msg)
        return names


def invalid_settings(error: ValidationError, variable: Callable[[str], str]) -> InvalidSetting:
    """Return an error that names the first variable that is wrong, and in `others` the others.

    `variable` gives the name of a setting's variable. No value is repeated: it may be a secret.
    """
    complaints = error.errors(include_input=False, include_url=False)
    first, *others = [_in_words(one["loc"], one["msg"], variable) for one in complaints]
    return InvalidSetting(*first, [InvalidSetting(*one) for one in others])


def _in_words(
    place: tuple[int | str, ...], message: str, variable: Callable[[str], str]
) -> tuple[str, str, str]:
    """Return which variable is wrong, why, and a hint."""
    name = variable(str(place[0])) if place else "SIEM"
    return name, message.removeprefix("Value error, "), "see the settings in deploy/README.md"
