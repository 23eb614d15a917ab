"""`siem preflight`: everything that production asks for, checked at once, however much of it is away.

Input: the settings. Output: a check for each thing, and whether Redis and the database could be asked. Redis
and the database are asked beside each other, each in a thread of its own, and for so long only: what hangs
becomes unknown, and the rest is reported.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from worker import __version__
from worker.background.preflight_settings import judge_host, judge_settings, vault_of
from worker.background.redis_monitor import WITHOUT_DATABASE
from worker.background.schema_compatibility import LedgerUser, ledger_users
from worker.broker.clocks import measure_skew, skews
from worker.broker.connection import Client, redis_client
from worker.broker.key_holders import KeyHolder, key_holders
from worker.broker.locks import claim_holder
from worker.broker.redis_access import read_access
from worker.broker.redis_server import read_facts
from worker.ledger.engine import Ledger, database_now_ms, ledger_id
from worker.ledger.migrations.revisions import own_steps, require_readable_tables, words_of_tables
from worker.ledger.migrations.runner import tables_of
from worker.ledger.resealing import sealed_secrets
from worker.ledger.server_facts import database_facts
from worker.model.clocks import clocks_part
from worker.model.errors import (
    BrokerUnavailable,
    InvalidSetting,
    LedgerUnavailable,
    OutageError,
    SchemaBehind,
    SchemaOutdated,
    SiemError,
)
from worker.model.outages import OutageCause
from worker.model.preflight import (
    DatabaseFacts,
    PreflightCheck,
    RedisAccess,
    fit,
    judge_access,
    judge_database,
    judge_releases,
    judge_server,
    judge_skew,
    not_known,
    of_redis,
    unfit,
    warned,
)
from worker.model.redis_checks import RedisFacts, judge_claim, judge_doors, judge_redis
from worker.settings import Settings
from worker.vault.sealed_secrets import Binding, SealedSecret
from worker.vault.vault import Vault

#: For how long Redis and the database are asked, in seconds, before the rest is reported.
LONGEST = 12.0


@dataclass(slots=True)
class _FromRedis:
    """What Redis has answered so far; `trouble` is why there is no more."""

    facts: RedisFacts | None = None
    access: RedisAccess | None = None
    #: Whether it was asked which ledger has claimed it, and which one has.
    claim: tuple[str | None] | None = None
    skew: tuple[float | None] | None = None
    skews: dict[str, float] = field(default_factory=dict)
    processes: list[LedgerUser] | None = None
    holders: list[KeyHolder] = field(default_factory=list)
    trouble: SiemError | None = None

    def ask(self, url: str) -> None:
        with closing(redis_client(url)) as client:
            self._ask(client, url)

    def _ask(self, client: Client, url: str) -> None:
        self.facts = read_facts(client)
        self.skew = (measure_skew(client)[1],)
        self.access = read_access(client, url)
        self.claim = (claim_holder(client),)
        self.skews = skews(client)
        self.holders = key_holders(client)
        self.processes = ledger_users(client)


@dataclass(slots=True)
class _FromDatabase:
    """What the database has answered so far; `trouble` is why there is no more."""

    facts: DatabaseFacts | None = None
    skew: tuple[float | None] | None = None
    tables: PreflightCheck | None = None
    ledger: str | None = None
    secrets: list[SealedSecret] | None = None
    trouble: SiemError | None = None

    def ask(self, opened: Callable[[], Ledger], vault: Vault | None) -> None:
        try:
            engine = opened()
        except SchemaOutdated as error:  # there is no file of SQLite yet
            self.tables = _no_tables(error)
            return
        try:
            self._ask(engine, vault)
        finally:
            engine.dispose()

    def _ask(self, engine: Ledger, vault: Vault | None) -> None:
        self.facts = database_facts(engine)
        self.skew = _skew_of(engine)
        try:
            self.tables = fit(
                "schema", words_of_tables(require_readable_tables(tables_of(engine), own_steps()))
            )
        except SchemaOutdated as error:
            self.tables = _no_tables(error)
            return
        self.ledger = ledger_id(engine)
        if vault is not None:
            self.secrets = sealed_secrets(engine, vault)


def _no_tables(error: SchemaOutdated) -> PreflightCheck:
    reason, _, hint = str(error).partition(": ")
    if isinstance(error, SchemaBehind):
        hint = "run `siem db upgrade`: recorders and APIs of this release wait for it"
    return unfit("schema", reason, hint)


def _skew_of(engine: Ledger) -> tuple[float | None] | None:
    """Return by how many seconds this host is ahead of the database; None if that has no clock (SQLite)."""
    began = time.time()
    database_ms = database_now_ms(engine)
    if database_ms is None:
        return None
    return ((began + time.time()) / 2 - database_ms / 1000,)


@dataclass(frozen=True, slots=True)
class Preflight:
    """All checks, and what could not be asked, in words: Redis, the database, both or neither."""

    checks: Sequence[PreflightCheck]
    unasked: Sequence[str]


def inspect_installation(
    config: Settings, opened: Callable[[], Ledger], *, threads: int, longest: float = LONGEST
) -> Preflight:
    """Make every check, in `longest` seconds. `opened` opens the ledger, `threads` are those of a worker."""
    vault, keys = vault_of(config)
    broker, database = _FromRedis(), _FromDatabase()
    until = time.monotonic() + longest
    waits = (
        _Question("Redis", lambda: broker.ask(config.broker_address())),
        _Question("the database", lambda: database.ask(opened, vault)),
    )
    broker.trouble, database.trouble = (one.trouble(until) for one in waits)
    checks = [
        *judge_settings(config),
        keys,
        *judge_host(threads),
        *_of_broker(config, broker, database),
        *_of_database(database),
        _secrets(vault, database),
        *_of_processes(vault, broker),
    ]
    troubles = {"Redis": broker.trouble, "the database": database.trouble}
    return Preflight(
        checks, [name for name, trouble in troubles.items() if trouble and not _is_forbidden(trouble)]
    )


class _Question:
    """Asks in a thread of its own, which does not outlive the program."""

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self._ask = ask
        kind = BrokerUnavailable if name == "Redis" else LedgerUnavailable
        self._trouble: SiemError | None = kind(f"{name} accepts connections and does not answer")
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"preflight of {name}")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._ask()
        except SiemError as error:
            self._trouble = error
        else:
            self._trouble = None

    def trouble(self, until: float) -> SiemError | None:
        """Return why it was not answered by then (monotonic seconds); None if it was."""
        self._thread.join(max(0.0, until - time.monotonic()))
        return self._trouble


def _of_broker(config: Settings, broker: _FromRedis, database: _FromDatabase) -> Iterator[PreflightCheck]:
    if broker.trouble is not None:
        yield _away("redis", broker.trouble)
    else:
        yield fit("redis", "it answers")
    if broker.facts is not None:
        checks = [
            *judge_redis(broker.facts, config.redis_accept, config.memory_plan),
            *judge_doors(broker.facts),
        ]
        yield from map(of_redis, checks)
    if broker.claim is not None:
        yield _claim(broker.claim[0], database)
    if broker.access is not None:
        yield from judge_server(broker.facts.info if broker.facts else None, broker.access)
        yield from judge_access(broker.access)
    if broker.skew is not None:
        yield judge_skew("redis clock", "Redis", broker.skew[0])


def _claim(holder: str | None, database: _FromDatabase) -> PreflightCheck:
    if holder is not None and database.ledger is None:
        return not_known("redis ledger", f"whose Redis it is: {WITHOUT_DATABASE}")
    return of_redis(judge_claim(holder, database.ledger or ""))


def _of_database(database: _FromDatabase) -> Iterator[PreflightCheck]:
    if database.trouble is not None:
        yield _away("database", database.trouble)
    elif database.tables is not None:
        yield fit("database", "it answers")
    if database.tables is not None:
        yield database.tables
    if database.facts is not None:
        yield from judge_database(database.facts)
    if database.skew is not None:
        yield judge_skew("database clock", "the database", database.skew[0])


def _is_forbidden(trouble: SiemError | None) -> bool:
    """Whether it answers, and does not let this user do what it has to."""
    return isinstance(trouble, OutageError) and trouble.cause is OutageCause.PERMISSION_DENIED


def _away(name: str, trouble: SiemError) -> PreflightCheck:
    if _is_forbidden(trouble):
        return unfit(name, str(trouble), "give this user the rights that the fleet needs")
    if isinstance(trouble, InvalidSetting):
        return not_known(name, f"{trouble.field} {trouble.reason}", trouble.hint)
    return not_known(name, str(trouble), "correct that, then run `siem preflight` again")


def _secrets(vault: Vault | None, database: _FromDatabase) -> PreflightCheck:
    """Check whether every sealed secret opens, in the place where it stands."""
    if vault is None:
        return not_known("secrets", "no key is there to open them with")
    if database.secrets is None:
        return not_known("secrets", "the ledger cannot be read")
    lost = [one for one in database.secrets if one.binding in {Binding.UNKNOWN, Binding.MOVED}]
    if lost:
        names = ", ".join(sorted({f"{one.path} of {one.name} ({one.integration_id})" for one in lost}))
        reason = f"{len(lost)} of {len(database.secrets)} sealed secrets cannot be used: {names}"
        return unfit("secrets", reason, "add the key that sealed them: see `siem secrets status`")
    if any(not one.is_current for one in database.secrets):
        reason = f"all {len(database.secrets)} open, some with an older key or unbound"
        return warned("secrets", reason, "see `siem secrets status`, then run `siem secrets reseal`")
    return fit("secrets", f"all {len(database.secrets)} open with the first key")


def _of_processes(vault: Vault | None, broker: _FromRedis) -> Iterator[PreflightCheck]:
    """Check the processes that run: their releases, their keys, their clocks."""
    if broker.processes is None:
        yield not_known("processes", "which ones run is not known without Redis")
        return
    yield judge_releases(__version__, (one.release for one in broker.processes))
    if not broker.processes:
        return
    lacking = [one for one in broker.holders if vault and one.lacks(vault.fingerprints[0])]
    if lacking:
        reason = f"the first of SIEM_SECRET_KEYS is not known to {', '.join(one.words() for one in lacking)}"
        yield unfit("process keys", reason, "restart them with the same SIEM_SECRET_KEYS")
    else:
        yield fit("process keys", "no process is known to lack the first of SIEM_SECRET_KEYS")
    clocks = clocks_part(broker.skews)
    hint = "synchronize the clocks (NTP)"
    off = unfit("process clocks", clocks.words, hint)
    yield fit("process clocks", clocks.words) if clocks.ok else off
