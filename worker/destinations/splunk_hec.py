"""Splunk over its HTTP Event Collector: one request for a batch, surgery where an event is refused.

A refused event must not take its batch with it, and no event may be carried by more than four
requests. So what an offender left behind goes out whole while three requests are left to it, in parts of
about its square root while two are left, and one by one with the last, which settles every event of it.
"""

import gzip
import time
import uuid
from collections import deque
from collections.abc import Sequence
from math import isqrt
from urllib.parse import urlsplit, urlunsplit

from worker.destinations.hec_verdict import HecVerdict, Meaning, judge
from worker.formats.hec import HecFormat
from worker.model.deliveries import MAX_REQUESTS, Batch, Finding, Ruling, Verdict
from worker.model.errors import InvalidIntegration, TransportError
from worker.model.integrations import SplunkHec
from worker.transports.findings import describe
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport

#: Where HEC lives below the host (Splunk: "HTTP Event Collector REST API endpoints").
_COLLECTOR = "/services/collector"
_GZIP_LEVEL = 1  # the network is rarely the limit; a core is
_OUT_OF_TIME = Finding(
    "out_of_time",
    "the time for this batch ran out before these events were sent",
    "if it lasts, the destination is too slow for what it is sent",
)
_NOT_REACHED = Finding(
    "not_reached",
    "Splunk refused another event of the same request, and this one's requests were used up",
    "replay it: nothing is known to be wrong with it",
)


class SplunkHecSender:
    """Sends batches to one HTTP Event Collector."""

    def __init__(self, config: SplunkHec, guard: Guard, *, connections: int) -> None:
        """Prepare headers and envelopes; connect when the first batch comes."""
        self._config = config
        self._url = event_url(config.url)
        self._format = HecFormat.of(
            host=config.host, source=config.source, source_type=config.source_type, index=config.index
        )
        self._headers = _headers(config)
        self._transport = HttpTransport(guard, config, connections=connections)
        self._most_bytes = config.batch_bytes

    def send(self, batch: Batch, deadline: float) -> list[Ruling]:
        """Send what is open of the batch; see `worker.destinations.Sender`."""
        return _Sending(self, batch, deadline).run()

    def close(self) -> None:
        """Let go of idle connections."""
        self._transport.close()

    def parts(self, places: Sequence[int], envelopes: dict[int, bytes]) -> list[Sequence[int]]:
        """Cut into requests within the integration's limits of count and uncompressed bytes."""
        parts: list[Sequence[int]] = []
        start = size = 0
        for at, place in enumerate(places):
            length = len(envelopes[place])
            if at > start and (at - start >= self._config.batch_events or size + length > self._most_bytes):
                parts.append(places[start:at])
                start, size = at, 0
            size += length
        return [*parts, places[start:]]

    def envelopes(self, batch: Batch, places: Sequence[int]) -> dict[int, bytes]:
        """Format the events at these places."""
        wrapped = self._format.envelopes([batch.events[place] for place in places])
        return dict(zip(places, wrapped, strict=True))

    def post(self, body: bytes, count: int, deadline: float) -> HecVerdict:
        """Send one request and judge the answer, or the lack of one."""
        seconds = min(self._config.timeout_seconds, deadline - time.monotonic())
        payload = gzip.compress(body, _GZIP_LEVEL, mtime=0) if self._config.gzip else body
        try:
            reply = self._transport.post(self._url, self._headers, payload, seconds)
        except TransportError as error:
            return HecVerdict(Meaning.RETRY, describe(error))
        except InvalidIntegration as error:
            hint = "correct the integration's TLS settings"
            return HecVerdict(Meaning.RETRY, Finding("configuration", str(error), hint))
        return judge(reply.status, reply.headers, reply.body, count)

    def learn_limit(self, refused: int) -> None:
        """Remember that a body of this many bytes was too large, so that the next one is smaller."""
        self._most_bytes = max(1, min(self._most_bytes, refused // 2))

    def learn_room(self, accepted: int) -> None:
        """After a body near the limit was accepted, dare a little more, up to what is configured."""
        if accepted > self._most_bytes // 2:
            self._most_bytes = min(self._config.batch_bytes, self._most_bytes + self._most_bytes // 10 + 1)


class _Sending:
    """One sending of one batch; a part of it is what one request carries, as places in the batch."""

    def __init__(self, sender: SplunkHecSender, batch: Batch, deadline: float) -> None:
        self._sender = sender
        self._batch = batch
        self._deadline = deadline
        self._rulings: list[Ruling] = []
        self._parts: deque[Sequence[int]] = deque()

    def run(self) -> list[Ruling]:
        places = self._batch.open_places()
        self._envelopes = self._sender.envelopes(self._batch, places)
        for part in self._sender.parts(places, self._envelopes):
            self._parts.extend(self._cut(part, whole=1, single=0))
        while self._parts:
            self._send(self._parts.popleft())
        return self._rulings

    def _send(self, part: Sequence[int]) -> None:
        if time.monotonic() >= self._deadline:
            self._give_up(part, HecVerdict(Meaning.RETRY, _OUT_OF_TIME))
            return
        for place in part:
            self._batch.carried[place] += 1
        body = b"".join([self._envelopes[place] for place in part])
        verdict = self._sender.post(body, len(part), self._deadline)
        if verdict.meaning is Meaning.ACCEPTED:
            self._sender.learn_room(len(body))
            self._rule(part, Verdict.ACCEPTED, verdict)
        elif verdict.meaning is Meaning.RETRY:
            self._give_up(part, verdict)
        elif verdict.meaning is Meaning.OFFENDER:
            self._cut_out(part, verdict)
        else:
            self._split(part, verdict, len(body))

    def _give_up(self, part: Sequence[int], verdict: HecVerdict) -> None:
        """Whoever turned this part away would turn the others away as well: they all come back later."""
        self._rule(part, Verdict.RETRY, verdict)
        for waiting in self._parts:
            self._rule(waiting, Verdict.RETRY, verdict)
        self._parts.clear()

    def _cut_out(self, part: Sequence[int], verdict: HecVerdict) -> None:
        """Let through what stands before the offender; send again what stands behind it."""
        at = verdict.offender
        self._rule(part[:at], Verdict.ACCEPTED, verdict)
        self._rule(part[at : at + 1], Verdict.REFUSED, verdict)
        self._queue(part[at + 1 :], HecVerdict(Meaning.RETRY, _NOT_REACHED), whole=3)

    def _split(self, part: Sequence[int], verdict: HecVerdict, size: int) -> None:
        """Send in smaller parts what was refused without naming an offender, or was too large."""
        if len(part) == 1:
            self._rule(part, Verdict.REFUSED, verdict)
            return
        if verdict.finding is not None and verdict.finding.code == "too_large":
            self._sender.learn_limit(size)
        self._queue(part, verdict, whole=MAX_REQUESTS)

    def _queue(self, places: Sequence[int], if_spent: HecVerdict, *, whole: int) -> None:
        """Send these next, in parts so small that the requests that are left suffice to settle them all."""
        carried = self._batch.carried
        spent = [place for place in places if carried[place] >= MAX_REQUESTS]
        self._rule(spent, Verdict.RETRY, if_spent)
        able = [place for place in places if carried[place] < MAX_REQUESTS]
        self._parts.extendleft(reversed(self._cut(able, whole=whole, single=1)))

    def _cut(self, places: Sequence[int], *, whole: int, single: int) -> list[Sequence[int]]:
        """Cut into parts by the requests that are left to these events.

        They stay whole while `whole` are left, go one by one once `single` are, and in parts of about their
        square root in between. One that is sent again although none is left has killed its workers: it goes
        one by one, so that the next death tells which event it is.
        """
        if not places:
            return []
        left = MAX_REQUESTS - max(self._batch.carried[place] for place in places)
        if left >= whole:
            return [places]
        step = 1 if left <= single else isqrt(len(places))
        return [places[at : at + step] for at in range(0, len(places), step)]

    def _rule(self, places: Sequence[int], verdict: Verdict, why: HecVerdict) -> None:
        if places:
            elapsed = round((time.monotonic() - self._batch.claimed_at) * 1000)
            finding = None if verdict is Verdict.ACCEPTED else why.finding
            self._rulings.append(Ruling(places, verdict, elapsed, finding, why.retry_after, why.http_status))


def event_url(url: str) -> str:
    """Return the address that takes JSON events, whichever address of the collector was given."""
    parts = urlsplit(url)
    head, found, _ = parts.path.partition(_COLLECTOR)
    path = f"{head if found else parts.path.rstrip('/')}{_COLLECTOR}/event"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _headers(config: SplunkHec) -> dict[str, str]:
    headers = {
        "Authorization": f"Splunk {config.token.get_secret_value()}",
        "Content-Type": "application/json",
        # Harmless without indexer acknowledgement, required with it; one for each process.
        "X-Splunk-Request-Channel": str(uuid.uuid4()).upper(),
    }
    return headers | ({"Content-Encoding": "gzip"} if config.gzip else {})
