"""A Splunk to try things with: an HTTP Event Collector on loopback that counts what it is sent.

`python -m worker.demo.splunk_receiver --port-file F` listens, writes its port to F and answers as Splunk
does, until SIGTERM. It can be set to be busy now and then, to refuse certain events for good, or to
acknowledge what it has indexed; `GET /counts` shows what came.
"""

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from worker.demo.counting import Behaviour, HttpReceiver, http_options
from worker.demo.server import LONGEST_BODY, Request, Response, html_page, listen_http, run
from worker.demo.splunk import (
    ACK_PATH,
    EVENT_PATHS,
    HEALTH_PATHS,
    Acknowledgements,
    Indexed,
    Reply,
    channel_of,
    index_body,
    judge_channel,
    judge_token,
)

_BUSY, _ACK_DISABLED, _HEALTHY, _NOT_FOUND, _NOT_ALLOWED = 9, 14, 17, 404, 405


@click.command()
@http_options
@click.option("--token", help="Demand `Authorization: Splunk TOKEN`.")
@click.option("--ack", is_flag=True, help="Be a token with indexer acknowledgement: demand a channel.")
def main(*, port_file: Path, port: int, token: str | None, ack: bool, **behaviour: Any) -> None:
    """Receive HEC events on loopback, count them, and forget them."""
    collector = Collector(Behaviour(**behaviour), token=token, ack=ack)
    run(listen_http(collector.answer, port), port, port_file)


class Collector(HttpReceiver):
    """Answers requests as Splunk does; with a `token` it demands it, with `ack` a channel."""

    def __init__(self, behaviour: Behaviour, *, token: str | None = None, ack: bool = False) -> None:
        """Begin with nothing counted."""
        super().__init__(behaviour)
        self._token = token
        self._ack = ack
        self._acknowledgements = Acknowledgements()

    def _respond(self, request: Request) -> Response:
        match request.method, request.path:
            case "POST", path if path in EVENT_PATHS:
                return self._collect(request)
            case "POST", path if path == ACK_PATH:
                return self._acknowledge(request)
            case "GET", path if path in HEALTH_PATHS:
                return _response(Reply(_HEALTHY))
            case _, path:
                return _response(Reply(_NOT_ALLOWED if path in EVENT_PATHS else _NOT_FOUND))

    def _collect(self, request: Request) -> Response:
        self._note(request)
        objection = self._token_objection(request) or self._channel_objection(request)
        if objection is not None:
            return _response(objection)
        if self._is_busy():
            return _response(Reply(_BUSY))
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            return html_page(415)  # as Splunk was measured to do
        body = gunzip(request.body) if encoding == "gzip" else request.body
        return _response(Reply(6) if body is None else self._numbered(request, self._take(body)))

    def _token_objection(self, request: Request) -> Reply | None:
        if self._token is None:
            return None
        return judge_token(request.headers.get("authorization"), self._token)

    def _channel_objection(self, request: Request) -> Reply | None:
        return judge_channel(_channel(request)) if self._ack else None

    def _numbered(self, request: Request, reply: Reply) -> Reply:
        """Add the ackId to the reply to a request of which something was taken."""
        if self._ack and (reply.code == 0 or reply.invalid_event):
            return replace(reply, ack_id=self._acknowledgements.number(_channel(request)))
        return reply

    def _acknowledge(self, request: Request) -> Response:
        disabled = None if self._ack else Reply(_ACK_DISABLED)
        objection = self._token_objection(request) or disabled or self._channel_objection(request)
        if objection is not None:
            return _response(objection)
        answer = self._acknowledgements.answer(_channel(request), request.body)
        return _response(Reply(6)) if answer is None else Response(200, answer)

    def _take(self, body: bytes) -> Reply:
        if self._behaviour.count_only:
            count = count_envelopes(body)
            self._events += count
            return Reply(0 if count else 5)
        indexed = index_body(body, self._refuses_event)
        self._count(indexed)
        return indexed.reply

    def _count(self, indexed: Indexed) -> None:
        self._events += len(indexed.events)
        self._seen.update(_event_id(event) for event in indexed.events)
        if indexed.reply.invalid_event is None:
            return
        if indexed.refused is None:
            self._unreadable += 1
        else:
            self._refused.add(_event_id(indexed.refused))

    def _refuses_event(self, event: Any) -> bool:
        return self._refuses(_event_id(event))


def _channel(request: Request) -> str:
    return channel_of(request.headers.get("x-splunk-request-channel"), request.query)


def _event_id(event: Any) -> str:
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
