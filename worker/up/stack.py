"""The whole on one machine: what starts after what, what ends it, and in which order it ends.

The order of a life: possession of the data directory, server, ledger, processes. Then one event decides: a
Ctrl-C, the end of a process or of the server, or the caller's own verdict. The order of the end is the
reverse, so that the processes can still give back what they hold.
"""

import queue
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from honcho.environ import parse_procfile

from worker.background.schema_compatibility import require_no_process_stopped, upgrade_shuts_out
from worker.broker.connection import redis_client
from worker.broker.heartbeat import API, ROLES, forget_killed, wait_for_roles
from worker.broker.redis_server import note_truncation
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.revisions import own_steps
from worker.ledger.migrations.runner import upgrade_tables
from worker.model.errors import BrokerUnavailable, UnavailableError
from worker.settings import API_URL_FILE, Settings
from worker.up.console import Console
from worker.up.data_dir_lock import DataDirLock, is_alive
from worker.up.embedded import EmbeddedServer
from worker.up.environment import explain, located, process_environment, project_procfile
from worker.up.orphan_reaper import OrphanReaper
from worker.up.process_group import Exited, ProcessGroup, Watcher

#: How long the processes have, in seconds, to report, and to end once they are asked to.
READY_SECONDS = 60.0
END_SECONDS = 20.0

_SERVER = "the embedded server"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class StackHandle:
    """What a companion of a running stack needs.

    `settings` are those that the processes read: absolute data directory, address of Redis. `stopping`
    is set as soon as the stack begins to end: return then.
    """

    settings: Settings
    stopping: threading.Event


@dataclass(frozen=True, slots=True)
class _Interrupted:
    """The end was asked for."""

    number: int


@dataclass(frozen=True, slots=True)
class _Finished:
    """The companion wants the end, or failed."""

    error: BaseException | None = None


_News = Exited | _Interrupted | _Finished

#: Runs in a thread of its own beside a stack that is ready; true ends the stack, false leaves it running.
Companion = Callable[[StackHandle], bool]


class Stack:
    """Server, ledger and processes, from start to end. Use `run` once, in the main thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        procfile: str | None = None,
        extra: Mapping[str, str] | None = None,
        roles: Collection[str] = (*ROLES, API),
        quiet: bool = False,
    ) -> None:
        """Take the settings, a Procfile's text (left out: the project's), and further commands by name.

        It is ready once a process of each of the `roles` has given a heartbeat. When `quiet`, the
        output goes to files in `logs`, in the data directory. Raises NotFoundError without a Procfile.
        """
        text = project_procfile() if procfile is None else procfile
        self._commands = {**parse_procfile(text).processes, **(extra or {})}
        self._settings = located(settings, settings.redis_url.get_secret_value())
        self._roles = roles
        self._screen = Console(self._commands, quiet=quiet, as_json=settings.log_format.lower() == "json")
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._logs = self._settings.data_dir / "logs" if quiet else None
        self._processes = ProcessGroup(Watcher(self._screen.show, self._news.put, self._logs))
        self._server: EmbeddedServer | None = None

    def run(self, while_up: Companion | None = None) -> int:
        """Start everything, wait for what ends it, end everything; return the exit status.

        That is 0 after Ctrl-C or when `while_up` returns true, and 1 if something ended by itself. What
        `while_up` raises is raised here, after everything has ended. Raises AlreadyRunningError if
        another process holds the data directory, and UnavailableError if something does not start.
        """
        with (
            DataDirLock(self._settings.data_dir) as data_dir,
            self._signals_are_news(),
            OrphanReaper() as reaper,
        ):
            try:
                self._start(data_dir, reaper)
                threading.Thread(target=self._accompany, args=(while_up,), daemon=True).start()
                return self._conclude(self._decisive_news())
            finally:
                self._end()

    def _start(self, data_dir: DataDirLock, reaper: OrphanReaper) -> None:
        """Start one after the other; a Ctrl-C meanwhile lets the rest be."""
        embedded = not self._settings.redis_url.get_secret_value()
        if embedded:
            self._screen.progress("Starting the embedded Redis server…")
            self._start_server(EmbeddedServer(self._settings.data_dir, data_dir), reaper)
        if self._stopping.is_set():
            return
        self._forget_the_dead()
        self._screen.progress("Preparing the ledger…")
        _upgrade_ledger(self._settings)
        (self._settings.data_dir / API_URL_FILE).unlink(missing_ok=True)
        environment = process_environment(self._settings)
        self._screen.progress(f"Starting {len(self._commands)} processes…")
        for name, command in self._commands.items():
            if not self._stopping.is_set():
                reaper.watch_process(self._processes.start(name, command, environment))

    def _start_server(self, server: EmbeddedServer, reaper: OrphanReaper) -> None:
        self._server = server
        server.start(self._stopping.is_set)
        if server.truncation and not self._stopping.is_set():
            self._report_truncation(server)
        reaper.watch_server(server.pid)
        self._settings = located(self._settings, server.url)
        threading.Thread(target=self._watch_server, args=(server,), name="server", daemon=True).start()

    def _report_truncation(self, server: EmbeddedServer) -> None:
        """Report that the end of the log was dropped, and have a recorder report it."""
        self._screen.complain(f"events accepted last may be missing: {server.truncation}")
        with closing(redis_client(server.url)) as client:
            note_truncation(client, server.truncation)

    def _watch_server(self, server: EmbeddedServer) -> None:
        self._news.put(Exited(_SERVER, server.wait()))

    def _forget_the_dead(self) -> None:
        """Take away heartbeats that processes of this machine left when they were killed."""
        with closing(redis_client(self._settings.broker_address())) as client:
            forget_killed(client, is_alive)

    def _accompany(self, while_up: Companion | None) -> None:
        """Wait until all have reported, then let the companion do its work."""
        try:
            missing = self._wait_until_ready()
            if self._stopping.is_set():
                return
            if missing:
                self._miss(missing, may_go_on=while_up is None)
            else:
                self._screen.progress("Ready.")
            # Last, so that it is what stands on the screen; and the API has its port by now.
            self._screen.say(*explain(self._settings, embedded=self._server is not None))
            if while_up is not None and while_up(StackHandle(self._settings, self._stopping)):
                self._news.put(_Finished())
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._news.put(_Finished(error))

    def _wait_until_ready(self) -> set[str]:
        """Wait for a heartbeat of every role; return those that gave none in time."""
        missing = set(self._roles)
        deadline = time.monotonic() + READY_SECONDS
        with closing(redis_client(self._settings.broker_address())) as client:
            while missing and not self._stopping.is_set() and time.monotonic() < deadline:
                # While Redis is away nothing can report; if it has died, that is news of its own.
                with suppress(BrokerUnavailable):
                    still_missing = wait_for_roles(client, missing, 0.5)
                    self._print_started(missing - still_missing)
                    missing = still_missing
                    continue
                self._stopping.wait(0.5)
        return missing

    def _print_started(self, roles: Collection[str]) -> None:
        if roles:
            self._screen.progress(f"  {', '.join(sorted(roles))}: up")

    def _miss(self, roles: set[str], *, may_go_on: bool) -> None:
        """Make known who has not reported; raises UnavailableError if they are waited for."""
        complaint = f"not up after {READY_SECONDS:.0f} seconds: {', '.join(sorted(roles))}"
        if not may_go_on:
            raise UnavailableError(complaint)
        self._screen.complain(complaint)

    def _decisive_news(self) -> _News:
        """Wait for what ends it. If the companion failed because something died, that is what counts."""
        # Not in one long wait: a signal that comes just before it begins is heard only when it ends.
        while (news := self._next_news(0.5)) is None:
            pass
        if isinstance(news, _Finished) and news.error is not None:
            later = self._next_news(0.5)
            return later if isinstance(later, Exited) else news
        return news

    def _next_news(self, seconds: float) -> _News | None:
        with suppress(queue.Empty):
            return self._news.get(timeout=seconds)
        return None

    def _conclude(self, news: _News) -> int:
        """Return why it ends; 0 if that was wanted."""
        match news:
            case Exited(name):
                self._screen.complain(f"{name} stopped ({news.words}): ending everything else")
                self._point_to_log(name)
                return 1
            case _Finished(error) if error is not None:
                raise error
            case _:
                self._screen.say("Ending everything.")
                return 0

    def _point_to_log(self, name: str) -> None:
        directory = self._settings.data_dir / "logs" if name == _SERVER else self._logs
        if directory is not None:
            file = "redis" if name == _SERVER else name
            self._screen.complain(f"its output: {directory / file}.log")

    def _end(self) -> None:
        self._stopping.set()
        self._processes.end(END_SECONDS)
        if self._server is not None:
            self._server.stop()

    @contextmanager
    def _signals_are_news(self) -> Iterator[None]:
        """Have Ctrl-C and its kin end the stack in good order; a `nohup` stays in force."""

        def note(number: int, _frame: FrameType | None) -> None:
            self._stopping.set()
            self._news.put(_Interrupted(number))

        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number, handler in before.items():
            if number != signal.SIGHUP or handler is not signal.SIG_IGN:
                signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_up(
    settings: Settings,
    *,
    extra: Mapping[str, str] | None = None,
    on_ready: Callable[[], None] | None = None,
    quiet: bool = False,
) -> int:
    """Run the project's stack until Ctrl-C; the exit status is `Stack.run`'s."""

    def announce(_handle: StackHandle) -> bool:
        if on_ready is not None:
            on_ready()
        return False

    return Stack(settings, extra=extra, quiet=quiet).run(announce if on_ready else None)


def _upgrade_ledger(settings: Settings) -> None:
    """Upgrade it. Raises SchemaInUse if that would stop a process, of another host that shares the ledger."""
    engine = open_ledger(settings.ledger_address())
    try:
        if upgrade_shuts_out(engine):
            with closing(redis_client(settings.broker_address())) as client:
                require_no_process_stopped(client, own_steps().head)
        upgrade_tables(engine)
    finally:
        engine.dispose()
