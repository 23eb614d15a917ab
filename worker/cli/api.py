"""`siem api`: the process that serves the HTTP API until SIGTERM."""

import gc
import logging
import signal
from contextlib import closing

import click

from worker.api.app import create_app
from worker.api.resources import Resources
from worker.api.serving import listen, server_of
from worker.broker.alive import API, SignOfLife
from worker.broker.connection import connect
from worker.cli.configuration import configuration
from worker.cli.stores import ledger
from worker.model.errors import LedgerUnavailable
from worker.pages.app import add_pages

log = logging.getLogger(__name__)


@click.command()
def api() -> None:
    """Serve the HTTP API at SIEM_API_HOST and SIEM_API_PORT. Ends cleanly on SIGTERM.

    What it can do is told by /openapi.json; `siem api-keys create` makes a key. It speaks plain HTTP: have a
    proxy that speaks TLS before it, and name that in SIEM_API_TRUSTED_PROXIES.
    """
    config = configuration()
    _look_at_ledger()
    app = create_app(Resources.of(config))
    add_pages(app)
    # What was imported stays: looking through it for garbage, now and again, holds up a request for 0.1 s.
    gc.collect()
    gc.freeze()
    # uvicorn raises a signal that ended it once more, when it is through.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with closing(listen(config)) as listener, closing(connect(config.broker_address())) as client:
        sign = SignOfLife(client, API)
        sign.start()
        try:
            server_of(app, config).run(sockets=[listener])
        finally:
            sign.stop()
    log.info("api ended")


def _look_at_ledger() -> None:
    """Raise SchemaOutdated if the tables are another release's; a database that is away will be back."""
    try:
        with ledger():
            pass
    except LedgerUnavailable as error:
        log.warning("began without the database: %s", error)
