"""`siem up`: the whole fleet on one machine, with a demo if wanted."""

import sys

import click

from worker.cli.stores import configuration
from worker.demo.runner import run_demo
from worker.up import run_up


@click.command()
@click.option(
    "--demo",
    is_flag=True,
    help="Play six receivers on loopback too, publish sample events, show them arrive.",
)
@click.option(
    "--events",
    metavar="NUMBER",
    type=click.IntRange(1, 10_000_000),
    default=10_000,
    show_default=True,
    help="With --demo: how many sample events.",
)
@click.option("--exit", "leave", is_flag=True, help="With --demo: end once every event is accounted for.")
@click.option(
    "--json", "as_json", is_flag=True, help="With --demo: print the account as JSON, as the last line."
)
def up(*, demo: bool, events: int, leave: bool, as_json: bool) -> None:
    """Run everything on this machine: Redis, ledger, router, recorder, workers. Ctrl-C ends it.

    Without SIEM_REDIS_URL and SIEM_DATABASE_URL it brings its own server and SQLite, and keeps their data
    in SIEM_DATA_DIR. The demo exits with 1 if an event is not accounted for.

    \b
    siem up
    siem up --demo --events 100000 --exit
    """
    if (leave or as_json) and not demo:
        raise click.UsageError("--exit and --json go with --demo")
    if demo:
        sys.exit(run_demo(configuration(), events=events, leave=leave, as_json=as_json))
    sys.exit(run_up(configuration()))
