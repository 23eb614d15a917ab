"""One Redis, one ledger, and a watch between them, for tests of what is missing afterwards."""

import shutil
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Engine

from tests.broker.sending import TIMING, append, claim, delivered, subscribe
from tests.embedded_servers import start_server
from worker.background.loss_monitor import LossWatch
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.connection import redis_client
from worker.broker.locks import LeaderLock
from worker.broker.outcomes import Outcomes
from worker.broker.redis_server import RedisMarks
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.recording import probe, record_entries
from worker.ledger.redis_losses import LossStore
from worker.ledger.redis_marks import MarkStore
from worker.model.errors import LedgerUnavailable
from worker.model.redis_marks import Loss, Mark
from worker.pipeline.recorder import Recorder

HOME = "int_a"


class FickleStore(MarkStore):
    """A store whose database can be away."""

    away = False

    def latest(self) -> Mark | None:
        """Return the latest mark, unless the database is away."""
        if self.away:
            raise LedgerUnavailable
        return super().latest()


class LossRig:
    """Everything that a loss concerns; nothing runs by itself."""

    def __init__(self, binary: Path, directory: Path) -> None:
        """Start a server and make a ledger, with one integration."""
        self._data = directory / "server"
        self._snapshot = directory / "snapshot"
        self.file = directory / "ledger.sqlite3"
        self.server = start_server(binary, self._data)
        self.client = redis_client(self.server.url)
        self.engine: Engine = open_ledger(f"sqlite:///{self.file}")
        upgrade_tables(self.engine)
        subscribe(self.client, HOME)
        self.backlog = Backlog(self.client, TIMING)
        self.recorder = Recorder(
            Outcomes(self.client, "recorder", 30),
            partial(record_entries, self.engine),
            partial(probe, self.engine),
            lambda: True,
            0,
        )
        self.recorder.step(threading.Event())
        self.store = FickleStore(self.engine)
        self.watch = self.another()

    def another(self) -> LossWatch:
        """Make a watch, as another process would; each has its turn."""
        turn = LeaderLock(self.client, keys.MARKER_LOCK, 60, when_full=True)
        return LossWatch(RedisMarks(self.client), self.store, LossStore(self.engine), turn, interval=0)

    def append(self, *names: str) -> None:
        """Route events to the integration."""
        append(self.client, HOME, [list(names)])

    def deliver(self) -> None:
        """Deliver a batch, and record it."""
        batch = claim(self.backlog, HOME).batch
        self.backlog.settle(batch, delivered(batch))
        self.recorder.step(threading.Event())

    def losses(self) -> Sequence[Loss]:
        """Return what was found missing, the latest first."""
        return [one.loss for one in LossStore(self.engine).list()]

    def keep_snapshot(self) -> None:
        """Keep a copy of what is on the server's disk."""
        self.server.stop()
        shutil.copytree(self._data, self._snapshot)
        self.server.restart()

    def restore_snapshot(self) -> None:
        """Start the server with that copy, which is so old that the lock in it has run out."""
        self.server.stop()
        shutil.rmtree(self._data)
        shutil.copytree(self._snapshot, self._data)
        self.server.restart()
        self.client.delete(keys.MARKER_LOCK)

    def cut_log(self, size: int) -> None:
        """Cut so many bytes off the end of the server's append-only file while it is down."""
        self.server.stop()
        [log] = [path for path in self._data.rglob("appendonly.aof*") if _is_appended_to(path)]
        with log.open("r+b") as file:
            file.truncate(log.stat().st_size - size)
        self.server.restart()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.engine.dispose()
        self.server.stop()


def _is_appended_to(path: Path) -> bool:
    return path.is_file() and (path.name.endswith(".incr.aof") or path.name == "appendonly.aof")
