"""How the API listens."""

import socket
from contextlib import closing

from tests.fleet import Fleet
from worker.api.server import bind_socket


def test_answers_are_sent_at_once(bare_fleet: Fleet) -> None:
    """No connection waits for its client to acknowledge the head of an answer before it sends the rest."""
    with closing(bind_socket(bare_fleet.settings.model_copy(update={"api_port": 0}))) as listener:
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            no_delay = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

        assert no_delay != 0
