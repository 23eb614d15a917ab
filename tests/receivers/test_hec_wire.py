"""The scriptable Splunk fails on the wire in the ways of its script, and stops at once all the same."""

import http.client
import ssl
import threading
from contextlib import suppress

import pytest
import requests
import trustme

from tests.receivers import scripts
from tests.receivers.clients import body_of, connect, post, raw_answer
from tests.receivers.hec import HecReceiver


@pytest.mark.parametrize("taking", [False, True])
def test_a_hanging_receiver_never_answers_but_stops_at_once(taking: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """The request is recorded before the silence; leaving the block frees the client."""
    failures: list[Exception] = []

    def client() -> None:
        try:
            post(receiver, "a", seconds=60)
        except requests.ConnectionError as error:
            failures.append(error)

    with HecReceiver(scripts.hang(taking=taking)) as receiver:
        thread = threading.Thread(target=client)
        thread.start()
        receiver.wait_for(lambda it: it.request_counts("a") == 1 and len(it.events) == int(taking))
    thread.join(10)

    assert len(failures) == 1


@pytest.mark.parametrize(
    ("after", "seen"),
    [
        ("nothing", b""),
        ("status", b"HTTP/1."),
        ("headers", b"HTTP/1.1 200 OK\r\nContent-Type: app"),
        ("body", b'"text":"Succ'),
    ],
)
def test_an_answer_breaks_off(after: str, seen: bytes) -> None:
    """The events are taken, the client sees a part of the answer and then the end."""
    with HecReceiver(scripts.close_mid_response(after)) as receiver:
        answer = raw_answer(receiver, "a")

        assert seen in answer
        assert not answer.endswith(b"}")
        assert receiver.accepted_ids == ["a"]


def test_an_answer_is_torn_off() -> None:
    """With `reset` the client sees the connection reset rather than closed."""
    with HecReceiver(scripts.close_mid_response(reset=True, taking=False)) as receiver:
        with pytest.raises(ConnectionResetError):
            raw_answer(receiver, "a")

        assert receiver.events == []


def test_an_answer_drips() -> None:
    """Byte by byte the whole answer arrives."""
    with HecReceiver(scripts.drip(0.0001)) as receiver:
        assert post(receiver, "a").json()["code"] == 0


def test_a_dripping_receiver_stops_at_once() -> None:
    """A receiver that closes does not send the rest first."""
    with HecReceiver(scripts.drip(3600)) as receiver, connect(receiver) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")

        assert client.recv(1) == b"H"


def test_tls() -> None:
    """With a server context it speaks HTTPS, and survives clients that do not."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    with HecReceiver(tls=server) as receiver:
        with connect(receiver) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with suppress(ConnectionResetError):  # or an alert, or the end: TLS does not say which
                plain.recv(100)
        secure = http.client.HTTPSConnection("127.0.0.1", receiver.port, context=client, timeout=10)
        secure.request("POST", "/services/collector/event", body_of("a"))
        answer = secure.getresponse().read()
        secure.close()

        assert receiver.url.startswith("https://")
        assert b"Success" in answer
        assert receiver.accepted_ids == ["a"]


def test_a_client_that_never_speaks_holds_nothing_up() -> None:
    """An open, silent connection does not keep a receiver from answering others or from stopping."""
    with HecReceiver() as receiver, connect(receiver):
        assert post(receiver, "a").status_code == 200


def test_a_receiver_returns_on_its_old_port() -> None:
    """A destination that went away can come back under the same address."""
    with HecReceiver() as gone:
        post(gone, "a")
    with HecReceiver(port=gone.port) as back:
        assert back.url == gone.url
        assert post(back, "b").status_code == 200
