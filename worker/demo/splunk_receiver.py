"""A Splunk to try things with: an HTTP Event Collector on loopback that counts what it is sent.

`python -m worker.demo.splunk_receiver --port-file F` listens, writes its port to F and answers as Splunk
does, until SIGTERM. It can be set to be busy now and then, to refuse certain events for good, or to
acknowledge what it has indexed; `GET /counts` shows what came. With `--count-only` it reads nothing of what
comes, so that a benchmark measures the sender.
"""

import asyncio
import errno
import json
import os
import random
import signal
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import click

from worker.demo.server import LONGEST_BODY, HttpConnection, Request, Response
from worker.demo.splunk import (
    ACK_PATH,
    EVENT_PATHS,
    HEALTH_PATHS,
    Acknowledgements,
    Indexed,
    Reply,
    index_body,
    judge_channel,
    judge_token,
)

_HOST = "127.0.0.1"
_BUSY, _ACK_DISABLED, _HEALTHY, _NOT_FOUND, _NOT_ALLOWED = 9, 14, 17, 404, 405


@click.command()
@click.option("--port-file", type=click.Path(path_type=Path), required=True, help="Gets the port when ready.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; left out, a free one.")
@click.option("--token", help="Demand `Authorization: Splunk TOKEN`.")
@click.option("--flaky", type=click.FloatRange(0, 1), default=0.0, help="Share of requests answered 503.")
@click.option("--refuse", type=click.FloatRange(0, 1), default=0.0, help="Share of events refused for good.")
@click.option("--ack", is_flag=True, help="Be a token with indexer acknowledgement: demand a channel.")
@click.option("--count-only", is_flag=True, help="Count envelopes without reading them; for benchmarks.")
def main(
    *,
    port_file: Path,
    port: int,
    token: str | None,
    flaky: float,
    refuse: float,
    ack: bool,
    count_only: bool,
) -> None:
    """Receive HEC events on loopback, count them, and forget them."""
    if count_only and refuse:
        raise click.UsageError(
            "--refuse: has to read the events, and --count-only does not; give one of the two"
        )
    collector = Collector(
        SplunkBehaviour(token=token, flaky=flaky, refuse=refuse, ack=ack, count_only=count_only)
    )
    try:
        port_file.unlink(missing_ok=True)  # an old port must not be taken for the new one
        asyncio.run(serve_collector(collector, port, port_file))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise click.ClickException(
                f"cannot listen on {_HOST}:{port} or write {port_file}: {error}"
            ) from None
        hint = "choose another --port, or leave it out to get a free one"
        raise click.ClickException(f"--port: {port} is taken by another program; {hint}") from None


async def serve_collector(collector: "Collector", port: int, port_file: Path) -> None:
    """Answer until SIGTERM or SIGINT. Raises OSError when the port or the file cannot be had."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    connections: set[asyncio.Transport] = set()
    server = await loop.create_server(lambda: HttpConnection(collector.answer, connections), _HOST, port)
    _write_at_once(port_file, str(server.sockets[0].getsockname()[1]))
    await stop.wait()
    server.close()
    for connection in list(connections):
        connection.close()


def _write_at_once(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


@dataclass(frozen=True, slots=True)
class SplunkBehaviour:
    """How the receiver behaves; the shares are from 0 to 1."""

    token: str | None = None
    flaky: float = 0.0
    refuse: float = 0.0
    ack: bool = False
    count_only: bool = False


class Collector:
    """Answers requests as Splunk does and counts what they carried."""

    def __init__(self, behaviour: SplunkBehaviour) -> None:
        """Begin with nothing counted."""
        self._temper = behaviour
        self._dice = random.Random()  # noqa: S311 - whether to be busy is no secret
        self._seen: set[str] = set()
        self._refused: set[str] = set()
        self._acknowledgements = Acknowledgements()
        self._requests = self._bytes = self._events = self._unavailable = self._unreadable = 0

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        match request.method, request.path:
            case "GET", "/counts":
                return Response(200, json.dumps(self.counts()).encode())
            case "POST", path if path in EVENT_PATHS:
                return self._collect(request)
            case "POST", path if path == ACK_PATH:
                return self._acknowledge(request)
            case "GET", path if path in HEALTH_PATHS:
                return _response(Reply(_HEALTHY))
            case _, path:
                return _response(Reply(_NOT_ALLOWED if path in EVENT_PATHS else _NOT_FOUND))

    def counts(self) -> Mapping[str, int | None]:
        """Report what came: `bytes` as they came over the wire, `events` accepted, `refused` distinct ones.

        `distinct` and `duplicates` are None when the events are not read.
        """
        distinct = None if self._temper.count_only else len(self._seen)
        return {
            "requests": self._requests,
            "events": self._events,
            "distinct": distinct,
            "duplicates": None if distinct is None else self._events - distinct,
            "refused": len(self._refused) + self._unreadable,
            "bytes": self._bytes,
            "unavailable": self._unavailable,
        }

    def _collect(self, request: Request) -> Response:
        self._requests += 1
        self._bytes += len(request.body)
        objection = self._token_objection(request) or self._channel_objection(request)
        if objection is not None:
            return _response(objection)
        if self._temper.flaky and self._dice.random() < self._temper.flaky:
            self._unavailable += 1
            return _response(Reply(_BUSY))
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            # Measured: Splunk answers this one with a page.
            return Response(415, b"<html><body>Unsupported Media Type</body></html>", "text/html")
        body = gunzip(request.body) if encoding == "gzip" else request.body
        return _response(Reply(6) if body is None else self._numbered(request, self._take(body)))

    def _token_objection(self, request: Request) -> Reply | None:
        if self._temper.token is None:
            return None
        return judge_token(request.headers.get("authorization"), self._temper.token)

    def _channel_objection(self, request: Request) -> Reply | None:
        return judge_channel(_channel(request)) if self._temper.ack else None

    def _numbered(self, request: Request, reply: Reply) -> Reply:
        """Add the ackId to the reply to a request of which something was taken."""
        if self._temper.ack and (reply.code == 0 or reply.invalid_event):
            return replace(reply, ack_id=self._acknowledgements.number(_channel(request)))
        return reply

    def _acknowledge(self, request: Request) -> Response:
        disabled = None if self._temper.ack else Reply(_ACK_DISABLED)
        objection = self._token_objection(request) or disabled or self._channel_objection(request)
        if objection is not None:
            return _response(objection)
        answer = self._acknowledgements.answer(_channel(request), request.body)
        return _response(Reply(6)) if answer is None else Response(200, answer)

    def _take(self, body: bytes) -> Reply:
        if self._temper.count_only:
            count = count_envelopes(body)
            self._events += count
            return Reply(0 if count else 5)
        indexed = index_body(body, self._refuses)
        self._count(indexed)
        return indexed.reply

    def _count(self, indexed: Indexed) -> None:
        self._events += len(indexed.events)
        self._seen.update(hec_event_id(event) for event in indexed.events)
        if indexed.reply.invalid_event is None:
            return
        if indexed.refused is None:
            self._unreadable += 1
        else:
            self._refused.add(hec_event_id(indexed.refused))

    def _refuses(self, event: Any) -> bool:
        """Refuse an event always or never: what decides is its id."""
        return zlib.crc32(hec_event_id(event).encode()) < self._temper.refuse * 2**32


def _channel(request: Request) -> str:
    """Return the channel of a request, from its header or else from the query; empty without one."""
    asked = parse_qs(request.query).get("channel", [""])
    return request.headers.get("x-splunk-request-channel", asked[0])


def hec_event_id(event: Any) -> str:
    """Return the id of an event, or, for one that has none, its whole text."""
    given = event.get("id") if isinstance(event, dict) else None
    return given if isinstance(given, str) else json.dumps(event, sort_keys=True)


def count_envelopes(body: bytes) -> int:
    """Count envelopes that begin with `time` and stand one behind the other without blanks.

    Exact for those: `}{` cannot stand inside JSON but in a string, and there the quotes are escaped.
    """
    return body.count(b'}{"time":') + 1 if body else 0


def gunzip(body: bytes) -> bytes | None:
    """Unpack a gzip body; None when it is none, is cut off, or swells beyond what Splunk takes."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, LONGEST_BODY)
    except zlib.error:
        return None
    return plain if unpacker.eof else None


def _response(reply: Reply) -> Response:
    return Response(reply.status, reply.body)


if __name__ == "__main__":
    main()
