"""`siem redis`: whether Redis suits, and whose it is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click

from worker.broker.connection import Client, connect
from worker.broker.ledger_claim import claim_holder, take_over
from worker.cli.configuration import configuration
from worker.cli.output import as_json_option, print_json, print_table
from worker.cli.stores import ledger
from worker.ledger.identity import ledger_id
from worker.model.redis_checks import Standing
from worker.redis_report import RedisReport


@click.group("redis")
def redis_() -> None:
    """See whether Redis suits, and whose it is."""


@redis_.command()
@as_json_option
def check(*, as_json: bool) -> None:
    """Check how Redis is configured: each check, how it came out, and what would mend it.

    FAILED: accepted events get lost, or may be lost already. WARNING: nothing is lost yet. UNKNOWN: Redis
    does not tell. Every process does the same at its start and every minute. Exits with 1 if a check failed.
    """
    with ledger() as engine, _client() as client:
        checks = RedisReport(engine, client, configuration()).checks()
    if as_json:
        print_json([asdict(one) for one in checks])
    else:
        rows = [[one.name, one.standing.upper(), one.words, one.hint] for one in checks]
        print_table(["check", "result", "what was found", "hint"], rows, empty="")
    if any(one.standing is Standing.FAILED for one in checks):
        sys.exit(1)


@redis_.command()
@click.option("--yes", is_flag=True, help="Do not ask before taking it from another ledger.")
@as_json_option
def claim(*, yes: bool, as_json: bool) -> None:
    """Claim this Redis for this ledger: only if the database replaces another one for good.

    A recorder claims an unclaimed Redis by itself. Taken from another ledger, what stands in Redis (outcomes,
    dead letters, parked events) is recorded here, and the recorders of the other ledger wait.
    """
    with ledger() as engine, _client() as client:
        own = ledger_id(engine)
        holder = claim_holder(client)
        if holder not in (None, own) and not yes:
            click.confirm(f"Redis belongs to the ledger {holder}. Take it over?", abort=True, err=True)
        take_over(client, own)
    before = holder if holder != own else None
    if as_json:
        print_json({"ledger": own, "taken_from": before})
    elif holder == own:
        click.echo(f"Redis belongs to this ledger already ({own}).")
    else:
        click.echo(
            f"Redis belongs to this ledger now ({own})" + (f", no longer to {before}." if before else ".")
        )


@contextmanager
def _client() -> Iterator[Client]:
    client = connect(configuration().broker_address())
    try:
        yield client
    finally:
        client.close()
