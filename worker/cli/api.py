"""`siem api`: the process that serves the HTTP API until SIGTERM."""

import gc
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import click

from worker.api.app import create_app
from worker.api.resources import Resources
from worker.api.server import Server, bind_socket, listener_url, server_of
from worker.background.redis_monitor import RedisWatch, refuse_unfit
from worker.background.schema_compatibility import schema_facts
from worker.broker.connection import Client, redis_client
from worker.broker.heartbeat import API, Heartbeat
from worker.broker.key_holders import key_facts
from worker.cli.stores import configuration, ledger
from worker.model.errors import LedgerUnavailable, OutageError, SchemaBehind
from worker.model.log_events import API_STARTED_WITHOUT_DATABASE, PROCESS_STOPPED
from worker.pages.app import add_pages
from worker.probes.server import probes
from worker.settings import API_URL_FILE
from worker.tracing import closing_tracing

log = logging.getLogger(__name__)


@click.command()
def api() -> None:
    """Serve the HTTP API and the pages at SIEM_API_HOST and SIEM_API_PORT. Ends cleanly on SIGTERM.

    With SIEM_API_PORT=0 it takes any port that is free. The file api.url in SIEM_DATA_DIR, if there is such a
    directory, holds the address.

    /openapi.json describes what it can do; `siem api-keys create` makes a key. It speaks plain HTTP: have a
    proxy that speaks TLS before it, and name that in SIEM_API_TRUSTED_PROXIES.
    """
    config = configuration()
    client = redis_client(config.broker_address())
    refuse_unfit(client, config.redis_accept)
    amiss = _look_at_ledger()
    resources = Resources.of(config)
    if amiss is not None:
        resources.outages.note(amiss)
    app = create_app(resources)
    add_pages(app)
    # What was imported stays: looking through it for garbage, now and again, holds up a request for 0.1 s.
    gc.collect()
    gc.freeze()
    process = app.state.process
    server = server_of(app, config, process.ends)
    # Ends also a server that is about to start, and takes what uvicorn raises once more when it is through.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    with (
        closing(bind_socket(config)) as listener,
        closing(client),
        closing_tracing(),
        probes(process, config.probe_host, config.probe_port),
    ):
        _leave_address(config.data_dir / API_URL_FILE, listener_url(listener))
        sign = Heartbeat(client, API, facts={**schema_facts(), **key_facts(resources.vault)})
        sign.start()
        try:
            with _watching_redis(resources, client, server):
                server.run(sockets=[listener])
        finally:
            sign.stop()
    PROCESS_STOPPED.log(log, role=API)


def _leave_address(file: Path, url: str) -> None:
    """Write down the address for `siem up` and for scripts; without a data directory it is not needed."""
    with suppress(OSError):
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        draft.write_text(url + "\n")
        draft.replace(file)


@contextmanager
def _watching_redis(resources: Resources, client: Client, server: Server) -> Iterator[None]:
    """Look now and then whether Redis answers and suits; requests that miss it share what is said of it."""
    stopping = threading.Event()
    accepted = resources.config.redis_accept
    watch = RedisWatch(client, accepted, lambda: setattr(server, "should_exit", True))
    arguments = [stopping, resources.outages.dependencies]
    thread = threading.Thread(target=watch.run, args=arguments, name="redis-watch")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _look_at_ledger() -> OutageError | None:
    """Raise SchemaOutdated if no upgrade fixes the tables; a database that is away will be back.

    It is returned. Until it is back, or `siem db upgrade` has run, events can be published, and readiness
    says what is amiss.
    """
    try:
        with ledger():
            pass
    except (LedgerUnavailable, SchemaBehind) as error:
        API_STARTED_WITHOUT_DATABASE.log(log, error=str(error))
        return error
    return None
