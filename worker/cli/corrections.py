"""`siem dead-letters correct`: an event that was not valid, published corrected."""

from contextlib import closing
from typing import BinaryIO

import click

from worker.broker.connection import redis_client
from worker.cli.configuration import configuration
from worker.cli.output import as_json_option, plain, print_json
from worker.cli.stores import integration_store
from worker.ledger.dead_letters import find_letter
from worker.model.events import MAX_EVENT_BYTES
from worker.model.replays import LetterState
from worker.pipeline.correction import publish_corrected


@click.command()
@click.argument("letter", metavar="ID")
@click.argument("source", metavar="FILE", type=click.File("rb"))
@as_json_option
def correct(letter: str, source: BinaryIO, *, as_json: bool) -> None:
    """Publish the corrected event of a dead letter that was not valid, from FILE or - for standard input.

    Its id and tenant must be those that it had, where those could be read. Once Redis has the event, the
    letter waits no longer.

    \b
    siem dead-letters show ID --json | jq -r .payload > event.json
    siem dead-letters correct ID event.json
    """
    raw = source.read(MAX_EVENT_BYTES + 1).strip()
    with integration_store() as store, closing(redis_client(configuration().broker_address())) as client:
        event_id = publish_corrected(store.engine, client, find_letter(store.engine, letter), raw)
    if as_json:
        print_json({"id": letter, "event_id": event_id, "state": LetterState.REPLAYED.value})
    else:
        click.echo(plain(f"Published {event_id}; the dead letter waits no longer."))
