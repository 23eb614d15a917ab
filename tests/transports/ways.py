"""The ways by which a SIEM is reached: three over TLS, each a function that sends once; the ways of HTTP.

What is said of a server's certificate, of ours, and of HTTP must not depend on the way.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager

import pytest

from tests.transports.curl.flights import post, posting
from worker.integrations import TlsOptions
from worker.model.errors import TlsFailed
from worker.transports.curl.answer import CurlResponse
from worker.transports.curl.posts import CurlTransport
from worker.transports.guard import Guard
from worker.transports.http import HttpReply, HttpTransport
from worker.transports.syslog.connection import SyslogTarget
from worker.transports.syslog.stream import SyslogStream

SECONDS = 10.0
#: Of a request or batch, in bytes: the second is still being sent when a server refuses us.
SIZES = (100, 3_000_000)

Send = Callable[[Guard, str, int, TlsOptions, int], str]


def _hec(guard: Guard, host: str, port: int, options: TlsOptions, size: int) -> str:
    with closing(CurlTransport(guard, options)) as transport:
        return str(transport.post(f"https://{host}:{port}/", {}, b"x" * size, SECONDS).status)


def _webhook(guard: Guard, host: str, port: int, options: TlsOptions, size: int) -> str:
    with posting(guard, f"https://{host}:{port}/", options) as many:
        return str(post(many, b"x" * size, SECONDS).status)


def _syslog(guard: Guard, host: str, port: int, options: TlsOptions, size: int) -> str:
    stream = SyslogStream(guard, SyslogTarget(host, port), options, confirms=False, connections=1)
    with closing(stream):
        stream.send([b"x" * size], SECONDS)
    return "200"


WAYS: dict[str, Send] = {"hec": _hec, "webhook": _webhook, "syslog": _syslog}


def refusal(way: str, guard: Guard, port: int, options: TlsOptions, size: int = SIZES[0]) -> TlsFailed:
    """Send to 127.0.0.1, and return the refusal that comes of it."""
    try:
        WAYS[way](guard, "127.0.0.1", port, options, size)
    except TlsFailed as failed:
        return failed
    raise AssertionError(f"{size} bytes were not refused, by way of {way}")


#: What posts a body to one url, again and again, and returns the answer.
Post = Callable[[bytes], HttpReply | CurlResponse]
PostTo = Callable[..., AbstractContextManager[Post]]


@contextmanager
def over_sockets(guard: Guard, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Post]:
    """Post as a notification, over one transport."""
    with closing(HttpTransport(guard, TlsOptions(), connections=1)) as transport:
        yield lambda body: transport.post(url, dict(headers or {}), body, SECONDS)


@contextmanager
def one_by_one(guard: Guard, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Post]:
    """Post as to Splunk, over one transport."""
    with closing(CurlTransport(guard, TlsOptions())) as transport:
        yield lambda body: transport.post(url, dict(headers or {}), body, SECONDS).whole()


@contextmanager
def over_libcurl(guard: Guard, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Post]:
    """Post as to a webhook, over one transport."""
    with posting(guard, url, headers=headers) as many:
        yield lambda body: post(many, body, SECONDS)


#: The ways of HTTP, for tests that hold for each.
each_http = pytest.mark.parametrize("posting_to", [over_sockets, one_by_one, over_libcurl])
