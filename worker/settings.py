"""Every knob, read once from the environment (`SIEM_*`). Durations are in seconds, of at most a year."""

import ipaddress
from functools import cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from worker.model.redis_address import NoRedisNamed, check_address
from worker.model.setting_groups import (
    ApiSettings,
    MemorySettings,
    QuotaSettings,
    RedisSettings,
    RetentionSettings,
    Seconds,
    SocketSeconds,
    WatchSettings,
    invalid_settings,
)
from worker.secret_files import SecretFileSettings, variable_in_use

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Where `siem up` leaves the address of the embedded server, inside the data directory.
REDIS_URL_FILE = "redis.url"
#: Where `siem api` leaves the address at which it listens, if there is a data directory.
API_URL_FILE = "api.url"


class Settings(
    ApiSettings,
    MemorySettings,
    QuotaSettings,
    RedisSettings,
    RetentionSettings,
    WatchSettings,
    SecretFileSettings,
):
    """The knobs; each description says what turning it does."""

    model_config = SettingsConfigDict(env_prefix="SIEM_", frozen=True)

    data_dir: Annotated[
        Path,
        Field(description="Holds the embedded server's files, the SQLite ledger and generated keys."),
    ] = Path(".siem")
    redis_url: Annotated[
        SecretStr,
        Field(
            description="The Redis or Valkey that carries the events: `redis://`, `rediss://`, or the "
            "sentinels that know where it is, `sentinel://host1:26379,host2:26379/0?service=mymaster`. "
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
    log_format: Annotated[
        str,
        Field(
            pattern="(?i)^(console|json)$",
            description="`console` logs lines for people, `json` one object a line.",
        ),
    ] = "console"

    slots: Annotated[
        int,
        Field(ge=1, le=64, description="Batches of one integration that may be under way at once."),
    ] = 4
    send_deadline: Annotated[
        SocketSeconds, Field(gt=0, description="The longest that one delivery task may spend on sending.")
    ] = 45.0
    lease: Annotated[
        Seconds,
        Field(gt=0, description="How long a batch belongs to the worker that claimed it."),
    ] = 60.0
    order_lease: Annotated[
        Seconds,
        Field(gt=0, description="How long a work order may wait in Celery before it is issued again."),
    ] = 30.0
    retry_backoff: Annotated[
        Seconds,
        Field(gt=0, description="The first retry's delay; each further one waits twice as long."),
    ] = 2.0
    retry_grace: Annotated[
        Seconds,
        Field(gt=0, description="How late a retry may be before its work order is issued again."),
    ] = 5.0
    sweep_interval: Annotated[
        Seconds, Field(gt=0, description="How often what dead processes left behind is looked for.")
    ] = 2.0
    claim_idle: Annotated[
        Seconds,
        Field(
            gt=0,
            description="After this long, entries of a silent router or recorder are taken over.",
        ),
    ] = 30.0
    recorder_linger: Annotated[
        Seconds,
        Field(ge=0, description="How long the recorder gathers outcomes for one transaction."),
    ] = 0.25
    worker_threads: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="Threads that a tenant may hold in a worker process; a third more are for others.",
        ),
    ] = 128
    breaker_failures: Annotated[
        int,
        Field(ge=1, description="Failed sendings in a row after which an integration's backlog is held."),
    ] = 5
    breaker_first_probe: Annotated[
        Seconds,
        Field(gt=0, description="How long it is held before one batch tries again; then twice as long."),
    ] = 15.0
    breaker_longest_probe: Annotated[
        Seconds, Field(gt=0, description="The longest interval between two such tries.")
    ] = 300.0
    visibility_timeout: Annotated[
        Seconds,
        Field(gt=0, description="Celery's; must exceed the lease. The same in every process."),
    ] = 300.0
    health_window: Annotated[
        Seconds,
        Field(ge=60, description="Over how long error rate and retry rate are reckoned, in whole minutes."),
    ] = 300.0
    health_degraded_rate: Annotated[
        float, Field(gt=0, le=1, description="From this error rate on it is degraded; 0.05 is 5 %.")
    ] = 0.05
    health_failing_rate: Annotated[
        float, Field(gt=0, le=1, description="From this error rate of the last two minutes on it is failing.")
    ] = 0.5
    health_fewest_failures: Annotated[
        int,
        Field(ge=1, description="So many failed sendings in a row, or dead letters, make it failing."),
    ] = 3
    health_oldest: Annotated[
        Seconds, Field(gt=0, description="It is degraded when an event has waited for it for so long.")
    ] = 60.0
    health_silence: Annotated[
        Seconds,
        Field(
            gt=0,
            description="It is failing when events wait and nothing has happened for so long; "
            "never less than the lease.",
        ),
    ] = 120.0
    health_idle: Annotated[
        Seconds, Field(gt=0, description="It is idle when no event was routed to it for so long.")
    ] = 3600.0
    health_steady: Annotated[
        Seconds,
        Field(ge=0, description="A state must hold for so long before it is announced on `siem:health`."),
    ] = 15.0
    health_interval: Annotated[Seconds, Field(gt=0, le=60, description="How often health is checked.")] = 5.0
    health_lag: Annotated[
        Seconds,
        Field(
            gt=0,
            description="The fleet is not ready when its router or recorder is so late with an entry; nor is "
            "any integration called healthy or idle while outcomes wait for so long. Within 1.5 times "
            "`SIEM_CLAIM_IDLE` another one takes over what a killed one held: less is an alarm for that.",
        ),
    ] = 60.0
    health_webhook_url: Annotated[
        SecretStr,
        Field(description="Where changes of health are posted to as JSON, `https://…`; left out, nowhere."),
    ] = SecretStr("")

    api_host: Annotated[str, Field(min_length=1, description="The address that `siem api` listens at.")] = (
        "127.0.0.1"
    )
    api_port: Annotated[
        int,
        Field(ge=0, le=65535, description="Its port; 0 is any that is free. `siem up` avoids one in use."),
    ] = 8080
    api_trusted_proxies: Annotated[
        tuple[Network, ...],
        NoDecode,
        Field(description="Networks, separated by commas, of proxies whose `X-Forwarded-For` is believed."),
    ] = ()
    ingress_most: Annotated[
        int,
        Field(
            ge=1,
            description="While so many events wait to be routed, the API takes none of a tenant that floods "
            "the ingress, and twice as many none at all: it answers 429.",
        ),
    ] = 1_000_000
    metrics_token: Annotated[
        SecretStr,
        Field(
            description="What `/metrics`, and the words of `/readyz`, ask for as a bearer token. "
            "Left out, they are public."
        ),
    ] = SecretStr("")

    @field_validator("allowed_networks", "api_trusted_proxies", mode="before")
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

    @model_validator(mode="after")
    def _health_grows_worse(self) -> Self:
        if self.health_degraded_rate > self.health_failing_rate:
            msg = "must hold: SIEM_HEALTH_DEGRADED_RATE <= SIEM_HEALTH_FAILING_RATE"
            raise ValueError(msg)
        return self

    @field_validator("health_webhook_url")
    @classmethod
    def _is_web_address(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if text and not text.startswith(("https://", "http://")):
            msg = "must begin with https:// or http://"
            raise ValueError(msg)
        return url

    @field_validator("redis_url")
    @classmethod
    def _is_address_of_redis(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if text:
            check_address(text)
        return url

    def broker_address(self) -> str:
        """Return the URL of Redis: the one that was set, or the embedded server's.

        Raises NoRedisNamed when there is neither.
        """
        given = self.redis_url.get_secret_value()
        if given:
            return given
        try:
            return (self.data_dir / REDIS_URL_FILE).read_text().strip()
        except OSError:
            raise NoRedisNamed(
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
    """Read the environment once. Raises InvalidSetting naming each variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        raise invalid_settings(error, variable_in_use) from None
