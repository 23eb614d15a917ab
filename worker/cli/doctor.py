"""`siem doctor`: why an integration fails, or would, step by step."""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from itertools import chain
from typing import Any

import click

from worker.background.doctor import StepReport, StepStatus, examine
from worker.cli.configuration import configuration
from worker.cli.installation import examine_installation, find_integration
from worker.cli.output import as_json_option, count_text, plain, print_json
from worker.cli.reports import print_wrapped
from worker.cli.stores import connections_held, worker_keys, worker_reach
from worker.cli.targets import complete_integration
from worker.integrations.integration import Integration
from worker.settings import Settings
from worker.transports.check_guards import FleetGuard

_MARKS = {
    StepStatus.OK: "ok",
    StepStatus.WARNING: "warning",
    StepStatus.FAILED: "FAILED",
    StepStatus.SKIPPED: "skipped",
}
#: Where messages begin, and the remedies below them.
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
    """Find out why an integration, given by id or name, fails: each step with what would mend it.

    Redis and the database are examined first; without an integration, they alone, with each check of
    `siem redis check`. While the database is away, the integration is taken from the copy in Redis.

    \b
    siem doctor splunk
    siem doctor splunk --no-test-event --json
    siem doctor

    It looks up the name, connects, and sends one marked, harmless event, as a worker would, but from this
    machine. An address must be allowed by every running worker that delivers to this type of destination;
    only if none runs, this environment's SIEM_ALLOWED_NETWORKS decides. A running worker that lacks the key
    which sealed the integration's secrets is warned of. Nothing is recorded. Exits with 1 if a step failed;
    warnings are no failure.
    """
    around = list(examine_installation(with_doors=integration is None))
    if integration is None:
        _print_installation(around, as_json=as_json)
        return
    found = _within(find_integration(integration), timeout)
    if not as_json:
        _print_each(check for check in around if check.result is not StepStatus.OK)
    checks = _checks(found, configuration(), test_event=test_event)
    done = list(checks) if as_json else _print_each(checks)
    if as_json:
        print_json({**_document(found, done), "installation": [asdict(check) for check in around]})
    else:
        click.echo(plain(_summary(found.name, done)))
    if _failed([*around, *done]):
        sys.exit(1)


def _print_installation(around: list[StepReport], *, as_json: bool) -> None:
    if as_json:
        print_json({"failed": _failed(around), "installation": [asdict(check) for check in around]})
    else:
        _print_each(around)
        click.echo(plain(_summary("installation", around)))
    if _failed(around):
        sys.exit(1)


def _failed(checks: Iterable[StepReport]) -> bool:
    return any(check.result is StepStatus.FAILED for check in checks)


def _within(integration: Integration, timeout: float | None) -> Integration:
    if timeout is None:
        return integration
    hasty = integration.destination.model_copy(update={"timeout_seconds": timeout})
    return integration.model_copy(update={"destination": hasty})


def _checks(integration: Integration, config: Settings, *, test_event: bool) -> Iterable[StepReport]:
    reach = worker_reach(integration.type)
    seconds = reach.send_deadline(config.send_deadline)
    held = partial(connections_held, integration)
    guard = FleetGuard(reach)
    checks = examine(integration, guard, send_seconds=seconds, test_event=test_event, held=held)
    return chain(worker_keys(integration), checks)


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


def _document(integration: Integration, done: list[StepReport]) -> dict[str, Any]:
    return {
        "id": integration.id,
        "name": integration.name,
        "type": integration.type,
        "failed": _failed(done),
        "steps": [asdict(check) for check in done],
    }
