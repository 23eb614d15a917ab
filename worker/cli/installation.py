"""What `siem doctor` finds out about this installation: Redis, each of its checks, and the database.

Comes in: the settings. Goes out: a check for each step, as for an integration. An integration is read from
the copy in Redis while the database is away.
"""

import time
from collections.abc import Iterator
from contextlib import closing

from worker.background.doctor import StepReport, StepStatus
from worker.background.redis_report import RedisReport
from worker.broker.conflicts import orphan_document
from worker.broker.connection import Client, redis_client
from worker.broker.notices import recorder_stall
from worker.broker.redis_stats import RedisStats, standing_subjects
from worker.cli.configuration import configuration
from worker.cli.partial import named, reported_ledger
from worker.cli.stores import Ledger, integration_store
from worker.integrations import DESTINATION_TYPES
from worker.integrations.integration import Integration
from worker.ledger.migrations.revisions import words_of_tables
from worker.ledger.migrations.runner import require_readable_schema
from worker.model.errors import (
    BrokerUnavailable,
    InvalidSetting,
    LedgerUnavailable,
    OutageError,
    SchemaOutdated,
)
from worker.model.fleet_health import queue_trouble
from worker.model.redis_checks import CheckStatus, RedisCheck
from worker.model.sources import MissingSources, Source
from worker.vault.documents import read_document
from worker.vault.vault import open_vault

_RESULTS = {
    CheckStatus.OK: StepStatus.OK,
    CheckStatus.WARNING: StepStatus.WARNING,
    CheckStatus.UNKNOWN: StepStatus.WARNING,
    CheckStatus.FAILED: StepStatus.FAILED,
}
_AWAY = "`siem health` shows what is known without it"


def examine_installation(*, with_doors: bool) -> Iterator[StepReport]:
    """Yield a check of Redis, one for each that `siem redis check` makes, and one of the database.

    Between these comes one for each queue of work orders that nobody takes. Only `with_doors` are those
    included that concern no delivery, but who may publish.
    """
    config, gaps = configuration(), MissingSources()
    try:
        address = config.broker_address()
    except InvalidSetting as error:
        yield StepReport("redis", StepStatus.FAILED, f"{error.field} {error.reason}", error.hint, 0.0)
        return
    with closing(redis_client(address)) as client, reported_ledger(gaps) as engine:
        began = time.monotonic()
        try:
            report = RedisReport(engine, client, config)
            checks = [*report.checks(), *(report.doors() if with_doors else ())]
        except BrokerUnavailable as error:
            yield _failed("redis", error, began)
        else:
            yield StepReport("redis", StepStatus.OK, "it answers", None, _since(began))
            yield from (_of_redis(check) for check in checks)
            yield from _queues(client, config.health_lag)
        yield _database(engine, client)


def _queues(client: Client, longest_lag: float) -> Iterator[StepReport]:
    """Yield a check for each queue whose workers live and do not take what waits."""
    try:
        signs = RedisStats(client).of_fleet()
    except BrokerUnavailable:
        return  # the check of Redis tells
    for kind in DESTINATION_TYPES:
        if trouble := queue_trouble(kind, signs, longest_lag):
            what, _, hint = trouble.partition(": ")
            yield StepReport(f"queue {kind}", StepStatus.FAILED, what, hint, 0.0)


def find_integration(id_or_name: str) -> Integration:
    """Return the integration; while the database is away, as Redis has it. Raises what either raises."""
    gaps = MissingSources()
    found = gaps.ask(Source.DATABASE, lambda: _recorded(id_or_name))
    return _standing(id_or_name, gaps) if found is None else found


def _recorded(id_or_name: str) -> Integration:
    with integration_store() as store:
        return store.get(id_or_name)


def _standing(id_or_name: str, gaps: MissingSources) -> Integration:
    config = configuration()
    with closing(redis_client(config.broker_address())) as client:
        found = named(standing_subjects(client), id_or_name, gaps)
        document = orphan_document(client, found.id)
    if document is None:
        raise gaps.errors[Source.DATABASE]
    return read_document(document, open_vault(config))


def _of_redis(check: RedisCheck) -> StepReport:
    result = _RESULTS[check.standing]
    step = f"redis {check.name}"
    if check.standing is CheckStatus.UNKNOWN:
        return StepReport(step, result, f"cannot be checked: {check.sentence}", None, 0.0)
    return StepReport(step, result, check.words, check.hint or None, 0.0)


def _database(engine: Ledger, client: Client) -> StepReport:
    began = time.monotonic()
    try:
        tables = words_of_tables(require_readable_schema(engine))
    except (LedgerUnavailable, SchemaOutdated) as error:
        return _failed("database", error, began)
    try:
        stall = recorder_stall(client)
    except BrokerUnavailable:
        stall = None
    if stall is not None:
        words = f"it answers, but takes nothing from a recorder: {stall.words}"
        return StepReport("database", StepStatus.FAILED, words, _AWAY, _since(began))
    return StepReport("database", StepStatus.OK, f"it answers, and {tables}", None, _since(began))


def _failed(step: str, error: OutageError, began: float) -> StepReport:
    return StepReport(step, StepStatus.FAILED, str(error), _AWAY, _since(began))


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
