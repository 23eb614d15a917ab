"""The thread that answers probes: what it says, and that no client keeps others from being answered."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.cli.running import call
from tests.fleet import wait_until
from tests.ports import free_port
from tests.probes.asking import ask, status
from worker.model import availability
from worker.model.availability import Dependencies, run_forever
from worker.model.errors import BrokerUnavailable, InvalidSetting
from worker.probes.process import ProcessProbe
from worker.probes.server import MOST, listen, probes

log = logging.getLogger("worker.pipeline.router")


@pytest.fixture
def process() -> ProcessProbe:
    """Give a process whose router loop is watched."""
    dependencies = Dependencies(log)
    dependencies.loops.watch("router")
    return ProcessProbe(dependencies, dependencies.absence)


@pytest.fixture
def port(process: ProcessProbe) -> Iterator[int]:
    """Give the port where its probes are answered."""
    port = free_port()
    with probes(process, "127.0.0.1", port):
        yield port


def test_a_process_is_ready_once_it_works_and_reaches_redis(process: ProcessProbe, port: int) -> None:
    """Each reason why it is not is given; none of them makes it less live."""
    said = [ask(port, "/readyz")]
    process.dependencies.back("step")
    said.append(ask(port, "/readyz"))
    process.works()
    said.append(ask(port, "/readyz?verbose"))
    process.dependencies.lost("step", BrokerUnavailable("no password in here"), 0.0)
    said.append(ask(port, "/readyz"))
    process.ends()
    said.append(ask(port, "/readyz"))

    assert said == [
        (503, {"ready": False, "reason": "Redis has not answered yet"}),
        (503, {"ready": False, "reason": "it has not started its work yet"}),
        (200, {"ready": True}),
        (503, {"ready": False, "reason": "Redis does not answer, or refuses what is asked"}),
        (503, {"ready": False, "reason": "it is shutting down"}),
    ]
    assert ask(port, "/livez") == (200, {"live": True})


def test_a_loop_that_stands_is_not_live(
    process: ProcessProbe, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A step that never ends, whatever holds it, shows within the time that a turn may take."""
    monkeypatch.setattr(availability, "LONGEST_TURN", 0.5)
    stopping, held = threading.Event(), threading.Event()

    def step() -> None:
        if held.is_set():
            stopping.wait()  # as a lock that is never given back

    loop = threading.Thread(target=run_forever, args=[step, stopping, process.dependencies, log])
    loop.start()
    try:
        assert ask(port, "/livez") == (200, {"live": True})
        held.set()
        wait_until(lambda: status(port, "/livez") == 503, "the loop counts as stuck")
        _, document = ask(port, "/livez")
        assert document["reason"].startswith("its router loop has not gone on for ")
        assert ask(port, "/readyz")[0] == 503
        assert [record.msg for record in caplog.records if record.levelno == logging.ERROR] != []
    finally:
        stopping.set()
        loop.join()


def test_other_paths_and_methods_are_refused(port: int) -> None:
    """There is nothing else at this port, and nothing to change."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"POST /livez HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))

    assert ask(port, "/")[0] == 404
    assert answer.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert b"\r\nAllow: GET, HEAD\r\n" in answer


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nX: ", b"\x16\x03\x01\r\n\r\n", b"x" * 10_000])
def test_who_sends_no_request_is_dropped_and_holds_up_no_other(port: int, sent: bytes) -> None:
    """Silent, slow, in TLS, or endless: the connection ends, and meanwhile others are answered."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(sent)
        assert ask(port, "/livez") == (200, {"live": True})
        client.settimeout(30)
        try:
            while client.recv(4096):
                pass
        except ConnectionResetError:
            pass
        assert ask(port, "/livez") == (200, {"live": True})


def test_silent_connections_keep_no_probe_from_its_answer(port: int) -> None:
    """Else who can reach the port, and has no other right, has the process restarted."""
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(MOST + 1)
        ]
        answers = [status(port, "/livez") for _ in range(3)]
        # The one that has been there longest went.
        silent[0].settimeout(30)
        assert _ended(silent[0])

    assert answers == [200, 200, 200]


def test_it_ends_while_clients_are_there(process: ProcessProbe, caplog: pytest.LogCaptureFixture) -> None:
    """Without a word of asyncio's in the log."""
    port = free_port()
    with (
        probes(process, "127.0.0.1", port),
        socket.create_connection(("127.0.0.1", port), 10) as client,
    ):
        assert status(port, "/livez") == 200
    client.close()

    assert [record for record in caplog.records if record.name == "asyncio"] == []


def _ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_port_in_use_and_a_foreign_address_are_named(port: int) -> None:
    """The error says which setting to change."""
    with pytest.raises(InvalidSetting, match=f"SIEM_PROBE_PORT: {port} is in use; give each process"):
        listen("127.0.0.1", port)
    with pytest.raises(InvalidSetting, match=r"SIEM_PROBE_HOST: cannot listen at 192\.0\.2\.1"):
        listen("192.0.2.1", port)


def test_siem_probe_asks_and_says_why_not(process: ProcessProbe, port: int) -> None:
    """Exit code 0 is yes, 1 is no with the reason; without a port it is a wrong use."""
    live = call({}, "probe", "live", "--port", str(port))
    early = call({"SIEM_PROBE_PORT": str(port)}, "probe", "ready")
    process.dependencies.back("step")
    process.works()
    ready = call({"SIEM_PROBE_PORT": str(port), "SIEM_PROBE_HOST": "0.0.0.0"}, "probe", "ready")
    nothing = call({}, "probe", "live", "--port", str(free_port()))
    without = call({}, "probe", "live")

    assert (live.code, live.out) == (0, "live\n")
    assert (early.code, early.err) == (1, "not ready: Redis has not answered yet\n")
    assert (ready.code, ready.out) == (0, "ready\n")
    assert nothing.code == 1
    assert "not live: nothing answers at 127.0.0.1, port" in nothing.err
    assert without.refuses("no port to ask: set SIEM_PROBE_PORT to that of the process, or give --port")
