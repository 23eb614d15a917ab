"""Requests to an HTTP Event Collector: urls, what is posted, what the answer means, when to cool down.

The addresses of an HTTP Event Collector, from whichever of them an integration was given.

People copy what Splunk's pages show: the collector itself, the address of events, raw data, health or
acknowledgements, with or without a version behind it, on Splunk Enterprise (port 8088) as on Splunk Cloud
(`http-inputs-<stack>.splunkcloud.com:443`). All lie below one path (Splunk: "HTTP Event Collector REST
API endpoints").
"""

import contextlib
import gzip
import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from worker.destinations.splunk_hec.channels import Channel, Channels
from worker.destinations.splunk_hec.verdict import HecMeaning, HecVerdict, confirmed_acks, hec_verdict
from worker.integrations.splunk_hec import SplunkHec
from worker.model.deliveries import Failure
from worker.model.errors import InvalidIntegration, KeptConnectionLost, TransportError
from worker.model.failures import FailureCode
from worker.transports.curl.posts import CurlTransport
from worker.transports.failures import describe
from worker.transports.guard import Guard
from worker.transports.http import HttpReply, request_head

_FIRST_REST = 1.0
_LONGEST_REST = 16.0


class CoolDown:
    """The rest between batches, in seconds; it grows with each such reply. Shared by a process's threads."""

    def __init__(self) -> None:
        """Begin without a rest."""
        self._lock = threading.Lock()
        self._rest = 0.0

    def cool_down_after(self, verdict: HecVerdict) -> float:
        """Return for how long to rest after this reply: 1 s, then twice that, up to 16; a plain 0 ends it."""
        if verdict.meaning is not HecMeaning.ACCEPTED:
            return 0.0
        with self._lock:
            self._rest = min(max(self._rest * 2, _FIRST_REST), _LONGEST_REST) if verdict.strained else 0.0
            return self._rest


_COLLECTOR = "/services/collector"


def event_url(url: str) -> str:
    """Return the address that takes JSON events."""
    return f"{_collector(url)}/event"


def ack_url(url: str, channel: str) -> str:
    """Return the address that says which requests of a channel are indexed."""
    return f"{_collector(url)}/ack?channel={channel}"


def _collector(url: str) -> str:
    """Keep scheme, host, port, and what a proxy has put before the collector's path."""
    parts = urlsplit(url)
    prefix, found, _ = parts.path.partition(_COLLECTOR)
    path = prefix if found else parts.path.rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path + _COLLECTOR, "", ""))


_GZIP_LEVEL = 1  # the network is rarely the limit; a core is
_SCHEME = "Splunk"
#: Statuses that say nothing without the body: success, and the events that Splunk refused.
_JUDGED_BY_BODY = frozenset({*range(200, 300), 400})


class HecClient:
    """Speaks to one collector; shared by the threads of a process."""

    def __init__(self, config: SplunkHec, guard: Guard) -> None:
        """Prepare; connect when the first request is posted."""
        self._config = config
        self._event_url = event_url(config.url)
        self._authorization = {"Authorization": f"{_SCHEME} {config.token.get_secret_value()}"}
        self._packing = {"Content-Encoding": "gzip"} if config.gzip else {}
        self._transport = CurlTransport(guard, config)
        self._channels = Channels()
        self._pace = CoolDown()

    @property
    def ack_timeout(self) -> float | None:
        """How long to ask whether a request is indexed, in seconds from its reply; None: do not ask."""
        return self._config.ack_timeout_seconds if self._config.use_ack else None

    @property
    def timeout(self) -> float:
        """For how many seconds Splunk may be silent, neither taking more of a request nor answering it."""
        return self._config.timeout_seconds

    def channel(self) -> AbstractContextManager[Channel]:
        """Lend a channel for one sending, which is the running thread's.

        With acknowledgement, its requests go to one address, and the questions after them: another indexer
        knows nothing of them. So a name that moves is followed between two sendings.
        """
        return self._pinned_channel() if self._config.use_ack else self._channels.borrow()

    @contextlib.contextmanager
    def _pinned_channel(self) -> Iterator[Channel]:
        with self._transport.pinned(), self._channels.borrow() as channel:
            yield channel

    def post(
        self,
        channel: Channel,
        body: bytes,
        count: int,
        deadline: float,
        on_send: Callable[[], None] = lambda: None,
    ) -> HecVerdict:
        """Post `count` envelopes and judge the answer; `deadline` is in monotonic seconds.

        Calls `on_send` once all is ready: from then on Splunk may have them.
        """
        if self._config.use_ack:
            channel.unconfirmed += 1
        packed, headers = self._packed(body), self._headers(channel)
        on_send()
        reply = self._ask(channel, self._event_url, headers, packed, deadline - time.monotonic())
        if isinstance(reply, HecVerdict):
            return replace(reply, rate=reply.rate * len(body) / max(1, len(packed)))
        verdict = hec_verdict(reply.status, reply.headers, reply.body, count)
        if reply.cut is not None and verdict.code is None and reply.status in _JUDGED_BY_BODY:
            return HecVerdict(HecMeaning.RETRY, describe(reply.cut))
        channel.spent |= verdict.spends_channel
        return replace(verdict, cool_down=self._pace.cool_down_after(verdict))

    def ask_indexed(
        self, channel: Channel, ack_ids: Collection[int], deadline: float
    ) -> frozenset[int] | HecVerdict:
        """Return which of these requests are indexed, which Splunk says once only; else what it answered."""
        question = json.dumps({"acks": sorted(ack_ids)}, separators=(",", ":")).encode()
        headers = self._authorization | {"Content-Type": "application/json"}
        seconds = min(self.timeout, deadline - time.monotonic())
        reply = self._ask(channel, ack_url(self._config.url, channel.id), headers, question, seconds)
        if isinstance(reply, HecVerdict):
            return reply
        return confirmed_acks(reply.status, reply.headers, reply.body)

    def written(self, channel: Channel, body: bytes) -> bytes:
        """Return the request that would carry this body: head with the token as `***`, body uncompressed."""
        headers = self._headers(channel) | {"Authorization": f"{_SCHEME} ***"}
        return request_head("POST", self._event_url, headers, self._packed(body)) + body

    def close(self) -> None:
        """Let go of idle connections."""
        self._transport.close()

    def _headers(self, channel: Channel) -> dict[str, str]:
        return {
            **self._authorization,
            "Content-Type": "application/json",
            **self._packing,
            # Harmless without indexer acknowledgement, required with it.
            "X-Splunk-Request-Channel": channel.id,
        }

    def _packed(self, body: bytes) -> bytes:
        return gzip.compress(body, _GZIP_LEVEL, mtime=0) if self._config.gzip else body

    def _ask(
        self, channel: Channel, url: str, headers: Mapping[str, str], body: bytes, seconds: float
    ) -> HttpReply | HecVerdict:
        headers = {**headers, **channel.cookies.header(url)}
        try:
            reply = self._transport.post(url, headers, body, seconds, min(self.timeout, seconds))
        except TransportError as error:
            cut_off = isinstance(error, KeptConnectionLost)
            return HecVerdict(HecMeaning.RETRY, describe(error), cut_off=cut_off, rate=error.rate)
        except InvalidIntegration as error:
            hint = "correct the integration's TLS settings"
            return HecVerdict(HecMeaning.RETRY, Failure(FailureCode.CONFIGURATION, str(error), hint))
        if self._config.use_ack:
            channel.cookies.keep(reply.set_cookies, url, reply.date)
        return reply
