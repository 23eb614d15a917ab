"""What every test may ask for: real servers, of both kinds that we support."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.embedded_servers import REDIS, VALKEY, RunningServer, start_server
from worker.broker.connection import connect

SERVERS = {"valkey": VALKEY} | ({"redis-6.2": REDIS} if REDIS else {})


@pytest.fixture(scope="session", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Give a server of each kind in turn, shared by the tests of the session."""
    binary: Path = SERVERS[request.param]
    with start_server(binary, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[redis.Redis]:
    """Give a client of an empty database, as the product makes it."""
    made = connect(server.url)
    made.flushall()
    yield made
    made.close()
