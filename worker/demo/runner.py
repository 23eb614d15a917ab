"""One run of the demo: start, publish, watch every event arrive, show the account."""

import ipaddress
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from worker.broker.connection import redis_client
from worker.demo.account import Account, AccountLine
from worker.demo.receivers import (
    KEY_NAME,
    TENANT,
    Receiver,
    commands,
    create_integrations,
    demo_receivers,
    forget_ports,
    listening,
    received,
    remove_integrations,
)
from worker.demo.report import ProgressBars, account_json, drawing, print_account, summary, verdict
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.engine import open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.model.api_keys import Role as ApiRole
from worker.model.errors import SiemError, UnavailableError
from worker.publisher import EventPublisher
from worker.samples import sample_lines
from worker.settings import Settings
from worker.up import Stack, StackHandle
from worker.up.environment import command, site_of
from worker.vault.vault import open_vault

#: How many events a second are published, so that latencies are those of a busy day, not of a flood.
RATE = 2_500
#: How long the receivers have to listen, and events to arrive once they are published, in seconds.
LISTEN_SECONDS = 30.0
ARRIVE_SECONDS = 120.0
#: How long a receiver may take to read what its system has taken for it, in seconds.
READ_SECONDS = 2.0
#: How often the account is looked at, in seconds.
LOOK_EVERY = 0.1

_INVITATION = """
Look around; Ctrl-C ends it.
  Pages:     {site}
             sign in with {key}
             (this key can read, and ends with the demo)
  Terminal:  {siem} status
             {siem} deliveries
             {siem} dead-letters list"""

_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


def run_demo(settings: Settings, *, events: int, leave: bool, as_json: bool) -> int:
    """Run the demo and return the exit status: 0 if every published event is accounted for.

    It is when the ledger has it as delivered or dead, and when the receivers have seen what was delivered;
    over UDP a loss is only shown. With `leave` the demo ends by itself; else the stack stays up until Ctrl-C.
    All that it makes lies in `demo`, in the data directory, beside whatever else is there.
    """
    if settings.redis_url.get_secret_value() or settings.database_url.get_secret_value():
        click.echo("The demo brings its own Redis and ledger: yours stay as they are.", err=True)
    settings = _own_place(settings)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    demo = _Demo(demo_receivers(), settings.data_dir.absolute(), events=events, leave=leave, as_json=as_json)
    try:
        status = Stack(settings, extra=demo.commands(), quiet=True).run(demo.run)
    finally:
        if demo.integrated:
            _clean_up(settings)
    if not leave:
        click.echo("Everything has ended.", err=True)
    return status or demo.status


class _Demo:
    """One run."""

    def __init__(
        self, receivers: Sequence[Receiver], directory: Path, *, events: int, leave: bool, as_json: bool
    ) -> None:
        self.status = 1
        self.integrated = False
        self._receivers = receivers
        self._directory = directory
        self._events = events
        self._leave = leave
        self._as_json = as_json

    def commands(self) -> dict[str, str]:
        forget_ports(self._receivers, self._directory)
        return commands(self._receivers, self._directory)

    def run(self, handle: StackHandle) -> bool:
        """Publish and account beside the running stack; true ends it."""
        self._wait_for_receivers(handle)
        with _stores(handle.settings) as (store, client):
            self.integrated = True
            integrations = create_integrations(
                self._receivers, self._directory, store, client, handle.settings.slots
            )
            account = Account(store, integrations)
            click.echo(f"Publishing {self._events} events, {RATE} a second…", err=True)
            with drawing(account, self._events) as progress:
                self._publish(handle, account, progress)
                self._watch(handle, account, progress)
            self._show(handle, account)
            if not self._leave and not handle.stopping.is_set():
                self._invite(handle, ApiKeyStore(store.engine))
        return self._leave

    def _invite(self, handle: StackHandle, keys: ApiKeyStore) -> None:
        """Return where all of this is to be seen, with a key that can change nothing."""
        key = keys.create(TENANT, ApiRole.READ_ONLY, KEY_NAME)
        invitation = _INVITATION.format(
            site=site_of(handle.settings), key=key.text, siem=command(handle.settings)
        )
        click.echo(invitation, err=self._as_json)

    def _wait_for_receivers(self, handle: StackHandle) -> None:
        deadline = time.monotonic() + LISTEN_SECONDS
        while not listening(self._receivers, self._directory):
            if time.monotonic() > deadline:
                raise UnavailableError(f"the demo's receivers do not listen: see {self._directory / 'logs'}")
            handle.stopping.wait(0.05)

    def _publish(self, handle: StackHandle, account: Account, progress: ProgressBars) -> None:
        account.begin()
        with EventPublisher(handle.settings.broker_address()) as publisher:
            for batch in _paced(sample_lines(self._events, run=secrets.token_hex(4), tenant_id=TENANT)):
                for receipt in publisher.publish_many(batch):
                    if receipt.error is not None:
                        raise SiemError(f"an event could not be published: {receipt.error}")
                account.note_published(batch)
                progress.draw_now_and_then()
                if handle.stopping.is_set():
                    return

    def _watch(self, handle: StackHandle, account: Account, progress: ProgressBars) -> None:
        """Look at the ledger until every event is accounted for, or patience ends."""
        deadline = time.monotonic() + ARRIVE_SECONDS
        while not handle.stopping.is_set() and time.monotonic() < deadline:
            lines = account.look()
            progress.draw(lines)
            if account.settle(lines):
                return
            handle.stopping.wait(LOOK_EVERY)

    def _show(self, handle: StackHandle, account: Account) -> None:
        lines = self._beside_receivers(handle, account.close())
        said = account_json(self._events, lines, account.seconds)
        self.status = 0 if said["accounted_for"] else 1
        print_account(lines, stderr=self._as_json)
        click.echo(summary(account.total_published, lines, account.seconds), err=self._as_json)
        click.echo(verdict(lines), err=self._as_json)
        if self._as_json:
            click.echo(json.dumps(said))

    def _beside_receivers(self, handle: StackHandle, lines: Sequence[AccountLine]) -> Sequence[AccountLine]:
        """Ask the receivers what they have, for a while as long as they have less than was delivered."""
        deadline = time.monotonic() + READ_SECONDS
        while True:
            counts = [received(receiver, self._directory) for receiver in self._receivers]
            lines = [replace(line, received=count) for line, count in zip(lines, counts, strict=True)]
            if all(line.agrees for line in lines) or time.monotonic() > deadline:
                return lines
            if handle.stopping.wait(LOOK_EVERY):
                return lines


def _paced(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield small batches at the rate of the demo."""
    size = RATE // 50
    started, sent = time.monotonic(), 0
    while batch := [line for _, line in zip(range(size), lines, strict=False)]:
        yield batch
        sent += len(batch)
        time.sleep(max(0.0, started + sent / RATE - time.monotonic()))


def _own_place(settings: Settings) -> Settings:
    """Return the settings of the demo: its own data directory, server and ledger; loopback is allowed."""
    return settings.model_copy(
        update={
            "data_dir": settings.data_dir / "demo",
            "redis_url": SecretStr(""),
            "database_url": SecretStr(""),
            "allowed_networks": (*settings.allowed_networks, _LOOPBACK),
            "log_level": "WARNING",
        }
    )


def _clean_up(settings: Settings) -> None:
    """Take the demo's integrations and keys away; deliveries and dead letters stay, to be looked at."""
    engine = open_ledger(settings.ledger_address())
    try:
        remove_integrations(IntegrationStore(engine, open_vault(settings)))
    finally:
        engine.dispose()


@contextmanager
def _stores(settings: Settings) -> Iterator[tuple[IntegrationStore, Any]]:
    engine = open_ledger(settings.ledger_address())
    try:
        with closing(redis_client(settings.broker_address())) as client:
            yield IntegrationStore(engine, open_vault(settings)), client
    finally:
        engine.dispose()
