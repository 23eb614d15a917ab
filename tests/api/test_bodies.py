"""Bodies that are too large, too slow, too deep, or bombs: each is refused, and the API answers on."""

import gzip
import json
import socket
import tracemalloc
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import OURS, PUBLISH_ONLY, Api, running
from tests.api.publishing import JSON, NDJSON, event, lines, publish, taken
from tests.fleet import Fleet, wait_until
from tests.logged import event_names
from worker.api import app, bodies
from worker.api.problems import Problem, problem_of

_MOST = 400_000


@pytest.fixture(scope="module")
def strict(bare_fleet: Fleet) -> Iterator[Api]:
    """Give an API that takes small bodies only, and only quick ones."""
    with running(bare_fleet, api_body_bytes=_MOST, api_body_seconds=0.5) as served:
        yield served
        taken(served)


def test_a_body_that_says_it_is_too_large(strict: Api) -> None:
    """It is refused by its Content-Length."""
    answer = publish(strict, b" " * (_MOST + 1), JSON)

    assert (answer.status_code, answer.json()["field"]) == (413, "body")


def test_a_body_that_does_not_say_how_large_it_is(strict: Api) -> None:
    """In chunks, it is refused once it is too large, and the connection is closed."""
    with _connected(strict) as connection:
        connection.sendall(_head(strict, "Transfer-Encoding: chunked"))
        piece = b" " * 65_536
        for _ in range(_MOST // len(piece) + 1):
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        answer = _read_all(connection)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_a_bomb_is_not_unpacked(strict: Api) -> None:
    """A gzip that would unpack to more than a body may hold."""
    bomb = gzip.compress(b" " * 50_000_000)
    answer = publish(strict, bomb, NDJSON | {"Content-Encoding": "gzip"})

    assert len(bomb) < _MOST
    assert (answer.status_code, answer.json()["field"]) == (413, "body")


def test_a_bomb_costs_no_memory() -> None:
    """Unpacking ends at the bound, whatever follows."""
    bomb = gzip.compress(b" " * 50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(Problem, match="larger than 400000 bytes"):
            bodies.unpacked(bomb, "gzip", _MOST)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10 * _MOST


def test_what_fits_exactly_is_unpacked(strict: Api) -> None:
    """The bound itself is allowed."""
    body = lines(event()).ljust(_MOST)
    answer = publish(strict, gzip.compress(body), NDJSON | {"Content-Encoding": "gzip"})

    assert answer.status_code == 202


def test_too_many_lines(strict: Api) -> None:
    """However short they are."""
    answer = publish(strict, b"\n" * 10_001)

    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/events", "/integrations/siem"])
def test_a_body_that_is_nested_deeply(strict: Api, path: str) -> None:
    """It is refused as such, at whatever depth."""
    for levels in (600, 100_000):
        for deep in ("[" * levels + "]" * levels, '{"a":' * levels + "1" + "}" * levels):
            raw = lines(event()).decode().replace("{", f'{{"context": {{"a": {deep[:_MOST]}}}, ', 1)
            answer = strict.ask("POST", path, content=raw.encode()[:_MOST], headers=JSON)

            assert answer.status_code in {400, 422}, (levels, deep[:5])
            assert answer.json()["field"] in {"event", "body"}, (levels, deep[:5])


def test_a_body_that_comes_too_slowly(strict: Api) -> None:
    """A drop now and then does not keep a request alive: the time is for all of it."""
    with _connected(strict) as connection:
        connection.sendall(_head(strict, "Content-Length: 300000"))
        connection.settimeout(0.1)
        answer = _dripped(connection)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["field"] == "body"


def test_a_client_that_hangs_up_amid_a_body_is_not_logged(
    strict: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that gives up is no fault of ours, and its traceback would bury those that are."""
    reported: list[Problem] = []

    def tell(error: Exception) -> Problem:
        reported.append(problem_of(error))
        return reported[-1]

    monkeypatch.setattr(app, "problem_of", tell)
    with _connected(strict) as connection:
        connection.sendall(_head(strict, "Content-Length: 300000") + b" " * 1000)

    assert wait_until(lambda: reported, "the API has noticed")[0].status == 400
    assert "request.failed" not in event_names(caplog)


def test_a_body_that_is_not_read(strict: Api) -> None:
    """Who is turned away before the body has come cannot hold the connection with it."""
    with _connected(strict) as connection:
        connection.sendall(b"POST /api/v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: 300000\r\n\r\n")
        answer = _read_all(connection)
    without = strict.http.post(f"{strict.url}/api/v1/events", content=b"")

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer.lower()
    assert (without.status_code, without.headers.get("Connection")) == (401, None)


def _connected(api: Api) -> socket.socket:
    address = urlsplit(api.url)
    return socket.create_connection((address.hostname, address.port), timeout=20)


def _head(api: Api, *headers: str) -> bytes:
    key = api.keys[OURS, PUBLISH_ONLY]
    given = ("Host: test", f"Authorization: Bearer {key}", "Content-Type: application/json", *headers)
    return "\r\n".join(["POST /api/v1/events HTTP/1.1", *given, "", ""]).encode()


def _dripped(connection: socket.socket) -> bytes:
    """Send a byte now and then until an answer comes; return all of it."""
    for _ in range(200):
        connection.sendall(b" ")
        try:
            first = connection.recv(65_536)
        except TimeoutError:
            continue
        return first + _read_all(connection)
    return b""


def _read_all(connection: socket.socket) -> bytes:
    """Read until the other side closes, as it may with a reset when it read not all of ours."""
    read = b""
    try:
        while piece := connection.recv(65_536):
            read += piece
    except ConnectionResetError:
        pass
    return read
