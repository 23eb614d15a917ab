"""Serves the API over HTTP/1.1. Comes in: the application and the settings; goes out: answers.

Standing behind a proxy that speaks TLS is how it is meant to be run in production.
"""

import errno
import logging
import socket

import uvicorn
from fastapi import FastAPI

from worker.api.connections import ConnectionLimit
from worker.api.impatience import TimeoutProtocol
from worker.model.errors import InvalidSetting
from worker.settings import Settings

#: How long a connection may be idle between requests, and what is under way may still take once it is asked
#: to end, in seconds.
KEEP_ALIVE = 15
GRACE = 15
#: A request's line and headers together, in bytes.
LONGEST_HEAD = 32 * 1024

#: The server, for those who only start and end it.
Server = uvicorn.Server

log = logging.getLogger(__name__)


def bind_socket(config: Settings) -> socket.socket:
    """Listen where the settings say. Raises InvalidSetting when that cannot be."""
    family = socket.AF_INET6 if ":" in config.api_host else socket.AF_INET
    try:
        listener = socket.create_server((config.api_host, config.api_port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InvalidSetting(
                "SIEM_API_PORT", f"{config.api_port} is in use", "give another one, or 0 for any that is free"
            ) from None
        field, value = ("SIEM_API_HOST", config.api_host)
        raise InvalidSetting(
            field, f"cannot listen at {value} ({error.strerror})", "give an address of this machine"
        ) from None
    # Asyncio does this only for sockets that name their protocol; else each answer waits 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    log.info("listening at %s", listener_url(listener))
    return listener


def listener_url(listener: socket.socket) -> str:
    """Return the address to give to a client of this machine."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_of(app: FastAPI, config: Settings) -> uvicorn.Server:
    """Return the server; `run(sockets=[listener])` serves until SIGTERM or SIGINT, or `should_exit`."""
    proxies = [str(network) for network in config.api_trusted_proxies]
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            http=_protocol(config),
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
            h11_max_incomplete_event_size=LONGEST_HEAD,
        )
    )


def _protocol(config: Settings) -> type[TimeoutProtocol]:
    """Return the protocol of one server, whose connections share its room."""

    class OfThisServer(TimeoutProtocol):
        room = ConnectionLimit(config.api_connections, config.api_trusted_proxies)

    return OfThisServer
