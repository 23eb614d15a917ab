"""Every knob, read once from the environment (`SIEM_*`). Durations are in seconds."""

import ipaddress
from functools import cache
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker.model.errors import InvalidSetting

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Where `siem up` leaves the address of the embedded server, inside the data directory.
REDIS_URL_FILE = "redis.url"


class Settings(BaseSettings):
    """The knobs; each description says what turning it does."""

    model_config = SettingsConfigDict(env_prefix="SIEM_", frozen=True)

    data_dir: Annotated[
        Path,
        Field(description="Holds the embedded server's files, the SQLite ledger and generated keys."),
    ] = Path(".siem")
    redis_url: Annotated[
        SecretStr,
        Field(
            description="The Redis or Valkey that carries the events; `redis://` or `rediss://`. "
            "Left out, the embedded server of `siem up` in the data directory."
        ),
    ] = SecretStr("")
    database_url: Annotated[
        SecretStr,
        Field(
            description="The ledger, as an SQLAlchemy URL (`postgresql+psycopg://…`). "
            "Left out, SQLite in the data directory."
        ),
    ] = SecretStr("")
    secret_keys: Annotated[
        SecretStr,
        Field(
            description="Fernet keys, separated by commas, that seal secrets at rest: the first seals, "
            "all open. Left out, a key is generated in the data directory."
        ),
    ] = SecretStr("")
    allowed_networks: Annotated[
        tuple[Network, ...],
        NoDecode,
        Field(
            description="Networks, separated by commas, that integrations may reach although they are "
            "private or loopback."
        ),
    ] = ()
    log_level: Annotated[
        str, Field(pattern="(?i)^(debug|info|warning|error)$", description="DEBUG, INFO, WARNING or ERROR.")
    ] = "INFO"

    slots: Annotated[
        int,
        Field(ge=1, le=64, description="Batches of one integration that may be under way at once."),
    ] = 4
    send_deadline: Annotated[
        float, Field(gt=0, description="The longest that one delivery task may spend on sending.")
    ] = 45.0
    lease: Annotated[
        float,
        Field(gt=0, description="How long a batch belongs to the worker that claimed it."),
    ] = 60.0
    order_lease: Annotated[
        float,
        Field(gt=0, description="How long a work order may wait in Celery before it is issued again."),
    ] = 30.0
    retry_backoff: Annotated[
        float,
        Field(gt=0, description="The first retry's delay; each further one waits twice as long."),
    ] = 2.0
    retry_grace: Annotated[
        float,
        Field(gt=0, description="How late a retry may be before its work order is issued again."),
    ] = 5.0
    sweep_interval: Annotated[
        float, Field(gt=0, description="How often what dead processes left behind is looked for.")
    ] = 2.0
    claim_idle: Annotated[
        float,
        Field(
            gt=0,
            description="After this long, entries of a silent router or recorder are taken over.",
        ),
    ] = 30.0
    recorder_linger: Annotated[
        float,
        Field(ge=0, description="How long the recorder gathers outcomes for one transaction."),
    ] = 0.1
    worker_threads: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="Threads of one Celery worker process; a destination that hangs holds one of them.",
        ),
    ] = 128
    breaker_failures: Annotated[
        int,
        Field(ge=1, description="Failed sendings in a row after which an integration's backlog is held."),
    ] = 5
    breaker_first_probe: Annotated[
        float,
        Field(gt=0, description="How long it is held before one batch tries again; then twice as long."),
    ] = 15.0
    breaker_longest_probe: Annotated[
        float, Field(gt=0, description="The longest interval between two such tries.")
    ] = 300.0
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
    visibility_timeout: Annotated[
        float,
        Field(gt=0, description="Celery's; must exceed the lease. The same in every process."),
    ] = 300.0

    @field_validator("allowed_networks", mode="before")
    @classmethod
    def _split_networks(cls, text: object) -> object:
        if isinstance(text, str):
            return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
        return text

    @model_validator(mode="after")
    def _waits_are_nested(self) -> Self:
        if not self.send_deadline < self.lease < self.visibility_timeout:
            msg = "must hold: SIEM_SEND_DEADLINE < SIEM_LEASE < SIEM_VISIBILITY_TIMEOUT"
            raise ValueError(msg)
        return self

    @field_validator("redis_url")
    @classmethod
    def _tls_is_verified(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if text and not text.startswith(("redis://", "rediss://")):
            msg = "must begin with redis:// or rediss://"
            raise ValueError(msg)
        if text.startswith("rediss://") and parse_qs(urlsplit(text).query).get("ssl_cert_reqs") != [
            "required"
        ]:
            msg = "must say ?ssl_cert_reqs=required (and ssl_ca_certs=/path): without it nothing is verified"
            raise ValueError(msg)
        return url

    def broker_address(self) -> str:
        """Return the URL of Redis: the one that was set, or the embedded server's.

        Raises InvalidSetting when there is neither.
        """
        given = self.redis_url.get_secret_value()
        if given:
            return given
        try:
            return (self.data_dir / REDIS_URL_FILE).read_text().strip()
        except OSError:
            raise InvalidSetting(
                "SIEM_REDIS_URL",
                f"is not set, and no embedded server has been started in {self.data_dir.absolute()}",
                "set it, run `siem up` first, or let SIEM_DATA_DIR name the directory of the one that runs",
            ) from None

    def ledger_address(self) -> str:
        """Return the SQLAlchemy URL of the ledger: the one that was set, or SQLite in the data directory."""
        given = self.database_url.get_secret_value()
        return given or f"sqlite:///{(self.data_dir / 'ledger.sqlite3').absolute()}"


@cache
def settings() -> Settings:
    """Read the environment once. Raises InvalidSetting naming the variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        complaint = error.errors(include_input=False, include_url=False)[0]
        name = "SIEM_" + "_".join(str(part) for part in complaint["loc"][:1]).upper()
        reason = complaint["msg"].removeprefix("Value error, ")
        raise InvalidSetting(name.rstrip("_"), reason, "see the settings in README.md") from None
