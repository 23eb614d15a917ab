"""Traffic while releases change: publishers that do not give up, and somebody who watches readiness.

Events go in by XADD, and over HTTP through whichever API answers. What is acknowledged is noted, with what
each kind of destination should receive of it.
"""

import hashlib
import re
import threading
import time
import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Self

import httpx

from tests.chaos.publishing import cef_of
from worker.model.errors import UnavailableError
from worker.model.event_decoder import decode_event
from worker.publisher import EventPublisher
from worker.samples import sample_lines

_BATCH = 20
_PAUSE = 0.2
_NDJSON = "application/x-ndjson"
#: In CEF, the release before this one writes such a score without its last zeros, this one as it came.
_ZERO_ENDS_SCORE = re.compile(rb'"drift_score":\s*[0-9]+\.[0-9]*0[,}\s]')


class Apis:
    """The addresses at which an API listens now; shared between threads."""

    def __init__(self) -> None:
        """Begin without one."""
        self._urls: list[str] = []

    def add(self, url: str) -> None:
        """Have it asked, from now on."""
        self._urls = [*self._urls, url]

    def remove(self, url: str) -> None:
        """Ask it no more."""
        self._urls = [one for one in self._urls if one != url]

    def all(self) -> list[str]:
        """Return them, the latest first."""
        return self._urls[::-1]


class Readiness:
    """Asks every API whether the fleet is ready, and notes when none says so."""

    def __init__(self, apis: Apis) -> None:
        """Ask these."""
        self.looks = 0
        self.red: list[str] = []
        self._apis = apis
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self.stop()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_PAUSE):
            asked = self._apis.all()
            answers = [_ready(url) for url in asked]
            self.looks += 1
            # Of those that were asked, one may have ended meanwhile; who looks again finds the others.
            if None not in answers and asked == self._apis.all():
                self.red.append(" / ".join(map(str, answers)))


def _ready(url: str) -> str | None:
    """Return None if this API says that the fleet is ready, else what it says."""
    try:
        answer = httpx.get(f"{url}/readyz", trust_env=False, timeout=90)
    except httpx.HTTPError as error:
        return f"{url}: {error!r}"
    if answer.status_code == 200:
        return None
    return f"{url}: " + "; ".join(
        f"{one['name']}: {one['detail']}" for one in answer.json()["parts"] if not one["ok"]
    )


class Publishers:
    """Two threads, one for each way in; `acknowledged` and `as_cef` are as those of the chaos tests."""

    def __init__(self, redis_url: str, apis: Apis, api_key: str, tenant_id: str) -> None:
        """Publish events of this tenant; the key is one of it."""
        self.acknowledged: dict[str, bytes] = {}
        self.as_cef: dict[str, bytes] = {}
        self.refusals: list[str] = []
        self._redis_url = redis_url
        self._apis = apis
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": _NDJSON}
        self._tenant_id = tenant_id
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._add), threading.Thread(target=self._post)]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Publish what is begun, and no more."""
        self.stop()

    def stop(self) -> None:
        """Publish what is begun, and no more."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _batches(self) -> Iterator[list[bytes]]:
        samples = sample_lines(10**9, run=uuid.uuid4().hex, tenant_id=self._tenant_id)
        lines = (line for line in samples if not _ZERO_ENDS_SCORE.search(line))
        while not self._over.wait(_PAUSE):
            yield list(islice(lines, _BATCH))

    def _add(self) -> None:
        with EventPublisher(self._redis_url) as publisher:
            for batch in self._batches():
                while not self._added(publisher, batch):
                    time.sleep(0.1)  # as any client, it asks again a little later

    def _added(self, publisher: EventPublisher, batch: list[bytes]) -> bool:
        try:
            receipts = list(publisher.publish_many(batch))
        except UnavailableError:
            return False
        if any(receipt.error for receipt in receipts):
            return False
        self._note(batch)
        return True

    def _post(self) -> None:
        for batch in self._batches():
            # The same key at another API, of another release: published once all the same.
            headers = self._headers | {"Idempotency-Key": uuid.uuid4().hex}
            while not any(self._posted(url, headers, batch) for url in self._apis.all()):
                time.sleep(0.1)  # the same

    def _posted(self, url: str, headers: dict[str, str], batch: list[bytes]) -> bool:
        try:
            answer = httpx.post(
                f"{url}/api/v1/events",
                content=b"\n".join(batch),
                headers=headers,
                trust_env=False,
                timeout=180,
            )
        except httpx.HTTPError:
            return False
        if answer.status_code != 202 or answer.json()["accepted"] != len(batch):
            self.refusals.append(f"{answer.status_code} {answer.text}")
            return False
        self._note(batch)
        return True

    def _note(self, batch: list[bytes]) -> None:
        with self._lock:
            for line in batch:
                event_id = decode_event(line).id
                self.acknowledged[event_id] = hashlib.sha256(line).digest()
                self.as_cef[event_id] = hashlib.sha256(cef_of(line)).digest()
