"""What every test may ask for: real servers, of both kinds that we support.

With SIEM_TESTS_SKIP_NOTHING in the environment, as in .ci/run, a test that is skipped has failed.
"""

import gc
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from tests.embedded_servers import REDIS, VALKEY, RunningServer, start_server
from tests.fleet_logs import last_words
from tests.ledger.postgres import PostgresServer, postgres_server
from tests.ledger.power_switch import PowerSwitch
from tests.small_disk import can_mount
from tests.upgrades.releases import why_not_here
from worker.broker.connection import redis_client

# Whatever stack a test starts, its API gets a port of its own.
os.environ.setdefault("SIEM_API_PORT", "0")

# Who starts the tests with `nohup` or `&` has them ignore these signals, and so has every program that
# they start; but some tests press Ctrl-C.
if threading.current_thread() is threading.main_thread():
    for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(_number) is signal.SIG_IGN:
            signal.signal(_number, signal.SIG_DFL)

# A property holds or it does not: how long an example takes says only how busy the machine is.
hypothesis.settings.register_profile(
    "no_clock", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("no_clock")

SERVERS = {"valkey": VALKEY} | ({"redis-6.2": REDIS} if REDIS else {})
SKIP_NOTHING = bool(os.environ.get("SIEM_TESTS_SKIP_NOTHING"))

# What tests redis-cli needs it, and the wheel that brings Redis 6.2 brings it.
collect_ignore = [] if REDIS else ["up/test_redis_cli.py"]
# Tests beside the previous release need its code: an unpacked archive of the sources has no history.
if why_not_here() is not None:
    collect_ignore.append("upgrades")


def pytest_report_header() -> list[str]:
    """Say which tests are left out, and why."""
    left_out = [f"tests/upgrades is left out: {why_not_here()}"] if why_not_here() is not None else []
    if not can_mount():
        left_out.append("tests that need a small disk are left out: mounting one is not allowed here")
    return left_out


#: How a file says at its top that all its tests are slow.
_ALL_SLOW = re.compile(r"^pytestmark = \[?pytest\.mark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where slow tests are left out, do not import files and folders that have no others: that takes long."""
    if config.option.markexpr != "not slow":
        return None
    tests = (
        [collection_path] if collection_path.match("test_*.py") else list(collection_path.rglob("test_*.py"))
    )
    return (bool(tests) and all(_ALL_SLOW.search(file.read_text()) for file in tests)) or None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage, which takes a third of it: what is made here stays to the end.

    Nor is it looked through while the tests run.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that none is left at the end; leave out what cannot run."""
    left_out = [one for one in items if one.get_closest_marker("small_disk") and not can_mount()]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [one for one in items if one not in left_out]
    longest: dict[Path, float] = {}
    for item in items:
        longest[item.path] = max(longest.get(item.path, 0), _seconds_allowed(item))
    items.sort(key=lambda item: -longest[item.path])
    repeated = [name for name, times in Counter(item.nodeid for item in items).items() if times > 1]
    if repeated:
        msg = f"several tests have one name, and xdist runs one of them: {repeated}"
        raise pytest.UsageError(msg)


def _seconds_allowed(item: pytest.Item) -> float:
    """Return after how many seconds a slow test has failed, and 0 for any other one."""
    if item.get_closest_marker("slow") is None:
        return 0
    timeout = item.get_closest_marker("timeout")
    return float(timeout.args[0] if timeout else item.config.getini("timeout"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped; one that was expected to fail is none. Show what its fleet has logged."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _fail_if_skipped(report)
    if report.failed:
        report.sections += last_words(getattr(item, "funcargs", {}).values())
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that was skipped."""
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if SKIP_NOTHING and report.skipped:
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nWith SIEM_TESTS_SKIP_NOTHING set, nothing may be skipped."


@pytest.fixture(scope="session", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Give a server of each kind in turn, shared by the tests of the session."""
    binary: Path = SERVERS[request.param]
    with start_server(binary, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Give the one PostgreSQL of the session, which no test may turn off."""
    with postgres_server() as running:
        yield running


@pytest.fixture
def postgres_url(postgres: PostgresServer, tmp_path: Path) -> Iterator[str]:
    """Give the URL of an empty database of that server."""
    with postgres.database(tmp_path.name) as url:
        yield url


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """Give a PostgreSQL that this module alone uses."""
    with postgres_server() as running:
        yield running


@pytest.fixture
def own_postgres_url(own_postgres: PostgresServer, tmp_path: Path) -> Iterator[str]:
    """Give the URL of an empty database of that server."""
    with own_postgres.database(tmp_path.name) as url:
        yield url


@pytest.fixture
def power(own_postgres_url: str) -> Iterator[PowerSwitch]:
    """Give the switch of the module's PostgreSQL, which is on again afterwards."""
    switch = PowerSwitch(own_postgres_url)
    yield switch
    switch.on()


@pytest.fixture
def client(server: RunningServer) -> Iterator[redis.Redis]:
    """Give a client of an empty database, as the product makes it."""
    made = redis_client(server.url)
    made.flushall()
    yield made
    made.close()
