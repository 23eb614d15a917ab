"""`siem doctor`: why an integration fails, or would, step by step.

What `siem doctor` finds out about this installation: Redis, each of its checks, and the database.

Input: the settings. Output: a check for each step, as for an integration. An integration is read from
the copy in Redis while the database is away.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import chain

import click

from worker.background.doctor import StepReport, StepStatus, examine
from worker.background.redis_monitor import RedisReport
from worker.broker.certificates import CertificateNotes
from worker.broker.conflicts import orphan_document
from worker.broker.connection import Client, redis_client
from worker.broker.notices import recorder_stall
from worker.broker.redis_stats import RedisStats, standing_subjects
from worker.cli.output import as_json_option, count_text, plain, print_json
from worker.cli.reports import find_subject, print_wrapped, reported_ledger
from worker.cli.selection import complete_integration
from worker.cli.stores import (
    configuration,
    connections_held,
    integration_store,
    leave_record,
    operator,
    worker_keys,
    worker_reach,
)
from worker.integrations import destination_types
from worker.integrations.integration import Integration
from worker.ledger.audit import record_alone
from worker.ledger.engine import Ledger
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
from worker.settings import Settings
from worker.transports.check_guards import FleetGuard
from worker.vault.changes import integration_test_record
from worker.vault.documents import read_document
from worker.vault.vault import open_vault
from worker.views.diagnostics import doctor_document, has_failed, installation_document

_RESULTS = {
    CheckStatus.OK: StepStatus.OK,
    CheckStatus.WARNING: StepStatus.WARNING,
    CheckStatus.UNKNOWN: StepStatus.WARNING,
    CheckStatus.FAILED: StepStatus.FAILED,
}
_AWAY = "`siem health` shows what is known without it"


def examine_installation(*, with_doors: bool) -> Iterator[StepReport]:
    """Yield a check of Redis, one for each that `siem redis check` makes, and one of the database.

    Between these comes one for each queue whose work orders no worker takes. Only `with_doors` are those
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
            yield _failed_step("redis", error, began)
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
        return  # the check of Redis says so
    for kind in destination_types():
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
        return store.get(store.resolve(id_or_name))


def _standing(id_or_name: str, gaps: MissingSources) -> Integration:
    config = configuration()
    with closing(redis_client(config.broker_address())) as client:
        found = find_subject(standing_subjects(client), id_or_name, gaps)
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
        return _failed_step("database", error, began)
    try:
        stall = recorder_stall(client)
    except BrokerUnavailable:
        stall = None
    if stall is not None:
        words = f"it answers, but takes nothing from a recorder: {stall.words}"
        return StepReport("database", StepStatus.FAILED, words, _AWAY, _since(began))
    return StepReport("database", StepStatus.OK, f"it answers, and {tables}", None, _since(began))


def _failed_step(step: str, error: OutageError, began: float) -> StepReport:
    return StepReport(step, StepStatus.FAILED, str(error), _AWAY, _since(began))


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


_MARKS = {
    StepStatus.OK: "ok",
    StepStatus.WARNING: "warning",
    StepStatus.FAILED: "FAILED",
    StepStatus.SKIPPED: "skipped",
}
#: Where messages begin, and the hints below them.
_INDENT = " " * 34


@click.command()
@click.argument("integration", required=False, shell_complete=complete_integration)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 30),
    help="How long each question may take; left out, the integration's own timeout.",
)
@click.option(
    "--test-event/--no-test-event",
    default=True,
    show_default=True,
    help="Whether to send a real event, of the type integration.test.",
)
@as_json_option
def doctor(integration: str | None, *, timeout: float | None, test_event: bool, as_json: bool) -> None:
    """Find out why an integration, given by id or name, fails: each step with a hint.

    Redis and the database are examined first; without an integration, they alone, with each check of
    `siem redis check`. While the database is away, the integration is taken from the copy in Redis.

    \b
    siem doctor splunk
    siem doctor splunk --no-test-event --json
    siem doctor

    It looks up the name, connects, and sends one marked, harmless event, as a worker would, but from this
    machine. An address must be allowed by every running worker that delivers to this type of destination;
    only if none runs, this environment's SIEM_ALLOWED_NETWORKS decides. A running worker that lacks the key
    which sealed the integration's secrets is warned of. The audit trail has who tested; nothing else is
    recorded. Exits with 1 if a step failed; warnings are no failure.
    """
    around = list(examine_installation(with_doors=integration is None))
    if integration is None:
        _print_installation(around, as_json=as_json)
        return
    found = _within(find_integration(integration), timeout)
    if not as_json:
        _print_each(check for check in around if check.result is not StepStatus.OK)
    _record(found, test_event=test_event)
    checks = _checks(found, configuration(), test_event=test_event)
    done = list(checks) if as_json else _print_each(checks)
    if as_json:
        print_json(doctor_document(found, done, around))
    else:
        click.echo(plain(_summary(found.name, done)))
    if has_failed([*around, *done]):
        sys.exit(1)


def _record(integration: Integration, *, test_event: bool) -> None:
    """Record the test in the ledger, or while that is away in Redis; if both are, nowhere."""
    record = integration_test_record(operator(), integration, integration.tenant_id, test_event=test_event)
    try:
        with integration_store() as store:
            record_alone(store.engine, record)
    except OutageError:
        with (
            suppress(OutageError, InvalidSetting),
            closing(redis_client(configuration().broker_address())) as client,
        ):
            leave_record(client, record)


def _print_installation(around: list[StepReport], *, as_json: bool) -> None:
    if as_json:
        print_json(installation_document(around))
    else:
        _print_each(around)
        click.echo(plain(_summary("installation", around)))
    if has_failed(around):
        sys.exit(1)


def _within(integration: Integration, timeout: float | None) -> Integration:
    if timeout is None:
        return integration
    hasty = integration.destination.model_copy(update={"timeout_seconds": timeout})
    return integration.model_copy(update={"destination": hasty})


def _checks(integration: Integration, config: Settings, *, test_event: bool) -> Iterable[StepReport]:
    reach = worker_reach(integration.type)
    seconds = reach.send_deadline(config.send_deadline)
    held = partial(connections_held, integration)
    guard = FleetGuard(reach).noting(partial(_note_certificate, integration.id))
    checks = examine(integration, guard, send_seconds=seconds, test_event=test_event, held=held)
    return chain(worker_keys(integration), checks)


def _note_certificate(integration_id: str, ends: float) -> None:
    """Have the metrics show when a certificate ends; without Redis nothing is noted."""
    with suppress(InvalidSetting), closing(redis_client(configuration().broker_address())) as client:
        CertificateNotes(client).note(integration_id, ends)


def _print_each(checks: Iterable[StepReport]) -> list[StepReport]:
    """Print each check as soon as it has ended: a step may take its time."""
    done = []
    for check in checks:
        took = f"{check.milliseconds:6.0f} ms" if check.result is not StepStatus.SKIPPED else " " * 9
        print_wrapped(plain(f"{_MARKS[check.result]:8}{check.step:16}{took} {check.message}"), indent=_INDENT)
        if check.hint:
            print_wrapped(plain(f"Hint: {check.hint}"), first=_INDENT, indent=_INDENT)
        done.append(check)
    return done


def _summary(name: str, done: list[StepReport]) -> str:
    failed = [check.step for check in done if check.result is StepStatus.FAILED]
    warned = [check.step for check in done if check.result is StepStatus.WARNING]
    verdict = (
        f"{count_text(len(failed), 'step')} failed ({', '.join(failed)})" if failed else "no step failed"
    )
    return f"{name}: {verdict}" + (f", with a warning of {', '.join(warned)}." if warned else ".")
