"""The program `siem`: one door for operators and admins.

Exit codes: 0 done; 1 failed; 2 what was given is wrong (the message names it); 3 Redis or the database
does not answer; 4 nothing of that name is here; 130 interrupted.
"""

import sys

import click

from worker.cli.integrations import integrations
from worker.cli.ledger import db, dead_letters, deliveries
from worker.cli.processes import record, route, up
from worker.cli.publishing import publish
from worker.cli.status import status
from worker.logs import log_to_stderr
from worker.model.errors import InvalidInput, NotFoundError, SiemError, UnavailableError
from worker.settings import settings

FAILED, WRONG_INPUT, UNAVAILABLE, NOT_FOUND, INTERRUPTED = 1, 2, 3, 4, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mitrity-siem-worker", prog_name="siem")
def siem() -> None:
    """Deliver governance events into every SIEM that subscribed.

    Settings come from the environment (SIEM_REDIS_URL, SIEM_DATABASE_URL, SIEM_DATA_DIR, …); README.md
    lists them.

    \b
    Exit codes: 0 done, 1 failed, 2 wrong input, 3 Redis or the database does not answer,
    4 nothing of that name, 130 interrupted.
    """
    log_to_stderr(settings().log_level)


for command in (up, route, record, publish, integrations, status, deliveries, dead_letters, db):
    siem.add_command(command)


def main() -> None:
    """Run the program and end the process with its exit code."""
    try:
        siem.main(prog_name="siem", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except SiemError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(_exit_code(error))


def _exit_code(error: SiemError) -> int:
    if isinstance(error, InvalidInput):
        return WRONG_INPUT
    if isinstance(error, UnavailableError):
        return UNAVAILABLE
    return NOT_FOUND if isinstance(error, NotFoundError) else FAILED
