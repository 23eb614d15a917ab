"""`siem preflight`: whether this installation is fit for production."""

import sys

import click

from worker.background.preflight import Preflight, inspect_installation
from worker.cli import FAILED, UNAVAILABLE
from worker.cli.output import as_json_option, count_text, plain, print_json, print_table
from worker.cli.stores import configuration, open_standing_ledger
from worker.model.redis_checks import CheckStatus
from worker.pipeline.thread_shares import pool_size
from worker.views.preflight import preflight_document


@click.command()
@as_json_option
def preflight(*, as_json: bool) -> None:
    """Check whether this installation is fit for production: each check, the reason, and a hint.

    It looks at the settings, the secret keys, the limits of this host, Redis and what its user may do there,
    the database, its tables and role, clocks, sealed secrets, and the processes that run. Run it with the
    environment of the processes, before the first start and after each upgrade. It changes nothing; in Redis
    it writes and deletes a few keys of its own (siem:preflight:*).

    FAILED: correct it before production. WARNING: it works, and should be better. UNKNOWN: it cannot be
    asked. It ends within 15 seconds, whatever hangs. Exits with 0 if no check failed, with 1 if one did, and
    with 3 if Redis or the database cannot be asked.

    \b
    siem preflight
    siem preflight --json
    """
    config = configuration()
    found = inspect_installation(config, open_standing_ledger, threads=pool_size(config.worker_threads))
    if as_json:
        print_json(preflight_document(found))
    else:
        rows = [[one.name, _mark(one.status), one.reason, one.hint] for one in found.checks]
        print_table(["check", "result", "reason", "hint"], rows, empty="")
        click.echo(plain(_verdict(found)))
    if found.unasked:
        sys.exit(UNAVAILABLE)
    if _named(found, CheckStatus.FAILED):
        sys.exit(FAILED)


def _mark(status: CheckStatus) -> str:
    return "ok" if status is CheckStatus.OK else status.upper()


def _named(found: Preflight, status: CheckStatus) -> list[str]:
    return [one.name for one in found.checks if one.status is status]


def _verdict(found: Preflight) -> str:
    failures, warnings = _named(found, CheckStatus.FAILED), _named(found, CheckStatus.WARNING)
    failures_text = f"{count_text(len(failures), 'check')} failed ({', '.join(failures)})" if failures else ""
    if found.unasked:
        verdict = f"Not known whether it is fit for production: {' and '.join(found.unasked)} cannot be asked"
        verdict += f"; {failures_text}" if failures_text else ""
    elif failures_text:
        verdict = f"Not fit for production: {failures_text}"
    else:
        verdict = "Fit for production"
    return verdict + (f", with a warning of {', '.join(warnings)}." if warnings else ".")
