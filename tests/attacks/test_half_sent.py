"""Half-sent bodies, half-sent heads, idle connections: an address has its share, and no more."""

import asyncio
import json
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.attacks.doors import EVENT, answer_of, ask, connected, half_sent, publish
from tests.fleet import Fleet, wait_until
from tests.pages.conftest import OURS, THEIRS, Site, running
from worker.api.connections import RejectedConnection
from worker.api.limits import REFUSED_REQUESTS, RefusalReason
from worker.api.server import TimeoutProtocol
from worker.model.api_keys import Role

#: Of this server; the largest body is a quarter of what all of them may hold.
BODY, BODIES, CONNECTIONS = 1 << 18, 1 << 20, 40


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give Redis and a ledger."""
    directory: Path = tmp_path_factory.mktemp("halves")
    with Fleet(directory) as own:
        yield own


@pytest.fixture(scope="module")
def site(fleet: Fleet) -> Iterator[Site]:
    """Give an API with little room."""
    few = {"api_body_bytes": BODY, "api_bodies_bytes": BODIES, "api_connections": CONNECTIONS}
    with pytest.MonkeyPatch.context() as patch:
        # What goes must not go by its deadline.
        patch.setattr(TimeoutProtocol, "HEAD_SECONDS", 120.0)
        with running(fleet, **few) as served:
            yield served


def test_bodies_of_one_key_leave_room_for_others(site: Site) -> None:
    """It is refused with 429 beyond its share; others publish as much, and one that is slow comes through."""
    with ExitStack() as attack:
        held = [attack.enter_context(half_sent(site, length=BODY, sent=BODY - 1)) for _ in range(12)]
        refused = wait_until(lambda: _answered(held), "some are refused")
        others = [publish(site, BODY // 2), publish(site, BODY // 2, role=Role.PUBLISH_ONLY)]
        slow = _published_slowly(site, BODY // 4)

    problem = json.loads(refused[0].partition(b"\r\n\r\n")[2])
    assert refused[0].startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 1" in refused[0].lower()
    assert problem["detail"] == "the requests of your tenant that are under way hold too much memory"
    assert others == [202, 202]
    assert slow.startswith(b"HTTP/1.1 202 ")
    assert wait_until(lambda: publish(site, BODY // 2, tenant=OURS) == 202, "what it held is given back")


def test_a_body_without_a_key_is_small(site: Site) -> None:
    """A form is all that may be sent without one."""
    assert ask(site, "POST", "/sign-in", data={"key": "x" * 300_000}) == 413


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: test\r\n"])
def test_idle_connections_make_room(site: Site, sent: bytes) -> None:
    """The oldest of an address that has more than its share goes, if it has sent nothing or half a head."""
    with ExitStack() as attack:
        idle = [attack.enter_context(connected(site)) for _ in range(2 * CONNECTIONS)]
        for one in idle:
            one.settimeout(0)
            _send(one, sent)
        assert _is_served(site, "127.0.0.2")
        wait_until(lambda: _is_served(site, "127.0.0.1"), "there is room for its address as well")
        assert wait_until(lambda: _is_closed(idle[0]), "the oldest one went")


def test_busy_connections_of_one_address_leave_room(site: Site) -> None:
    """An address with its share of them under way is refused, with a hint; another address is served."""
    with ExitStack() as attack:
        keys = [(tenant, role) for tenant in (OURS, THEIRS) for role in (Role.ADMIN, Role.PUBLISH_ONLY)]
        for tenant, role in keys * 8:
            attack.enter_context(half_sent(site, tenant=tenant, role=role, length=BODY, sent=1))
        refused = wait_until(lambda: _refused(site), "its address has its share")
        assert _is_served(site, "127.0.0.2")
        assert wait_until(lambda: _refused(site) and _counted(site), "all processes read of it")

    assert b"too many connections from your address are busy" in refused
    assert b"Retry-After: 1" in refused


def test_behind_a_proxy_a_key_has_a_share_of_the_requests(fleet: Fleet) -> None:
    """All connections come from one address there: what counts is whose requests they carry."""
    trusted = fleet.settings.allowed_networks
    with (
        running(fleet, api_connections=CONNECTIONS, api_trusted_proxies=trusted) as site,
        ExitStack() as attack,
    ):
        halves = (half_sent(site, length=BODY, sent=1) for _ in range(CONNECTIONS - 5))
        held = [attack.enter_context(one) for one in halves]
        refused = wait_until(lambda: _answered(held), "the key has its share")
        others = publish(site)

    assert refused[0].startswith(b"HTTP/1.1 429 ")
    assert b"too many requests of your tenant are under way" in refused[0]
    assert others == 202


def test_who_hangs_up_before_being_refused_does_not_linger() -> None:
    """So many may, and read why they are: those who did not wait for it must not take that from others."""
    lingering = RejectedConnection.lingering
    has_gone = asyncio.Event()

    class Watched(RejectedConnection):
        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            has_gone.set()

    async def refuse(client: socket.socket, accepted: socket.socket) -> None:
        client.close()
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, accepted)
        transport.set_protocol(Watched(transport, RefusalReason.CONNECTIONS))
        async with asyncio.timeout(20):
            await has_gone.wait()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(refuse(socket.create_connection(listener.getsockname()), listener.accept()[0]))
    assert RejectedConnection.lingering == lingering


@pytest.mark.slow
def test_as_much_as_the_attack_had(fleet: Fleet) -> None:
    """By default settings: 256 MB of half-sent bodies of one key, and 1 010 idle connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with running(fleet) as site, ExitStack() as attack:
            halves = (half_sent(site, length=1 << 24, sent=(1 << 24) - 1) for _ in range(16))
            held = [attack.enter_context(one) for one in halves]
            wait_until(lambda: _answered(held), "some are refused")
            assert publish(site, 1 << 17) == 202
            for _ in range(1010):
                attack.enter_context(connected(site))
            assert _is_served(site, "127.0.0.2")
            wait_until(lambda: _is_published(site, 1 << 17), "there is room for its address as well")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _answered(held: list[socket.socket]) -> list[bytes]:
    """Return the answers of those that have one already."""
    found = []
    for one in held:
        one.settimeout(0)
        try:
            one.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        except ConnectionError:
            continue
        one.settimeout(20)
        found.append(answer_of(one))
    return [answer for answer in found if answer]


def _published_slowly(site: Site, size: int) -> bytes:
    """Publish in twenty pieces, each as soon as the one before it was taken."""
    body = json.dumps(EVENT).encode().ljust(size)
    with half_sent(site, tenant=THEIRS, length=size, sent=0) as connection:
        step = size // 20 + 1
        for start in range(0, size, step):
            connection.sendall(body[start : start + step])
            assert ask(site, "GET", "/healthz") == 200
        return connection.recv(65_536)


def _is_published(site: Site, size: int) -> bool:
    try:
        return publish(site, size) == 202
    except httpx.TransportError:
        return False  # a connection that is refused is closed, often before its request was read


def _is_served(site: Site, source: str) -> bool:
    with connected(site, source) as connection:
        _send(connection, b"GET /healthz HTTP/1.0\r\n\r\n")
        return answer_of(connection).startswith(b"HTTP/1.1 200 ")


def _refused(site: Site) -> bytes | None:
    with connected(site) as connection:
        answer = answer_of(connection) if _send(connection, b"GET /healthz HTTP/1.0\r\n\r\n") else b""
    return answer if answer.startswith(b"HTTP/1.1 429 ") else None


def _counted(site: Site) -> int:
    """Return how many Redis has; another API of this test process may have taken some of them to its own."""
    return REFUSED_REQUESTS.read(site.fleet.client)["connections_of_address"]


def _send(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except ConnectionError:
        return False
    return True


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
