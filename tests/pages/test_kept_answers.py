"""What is kept of forms that were carried out, so that a second click does nothing: how much, and what."""

import hashlib
import time
from contextlib import closing

from tests.pages.conftest import OURS, Site, running
from tests.pages.test_typed import NEW, form_of
from worker.broker import keys

_SETTING = 200_000_000


def test_a_click_leaves_the_kept_answers_that_the_setting_allows(site: Site) -> None:
    """It once cut them to the share that holds where nobody has set another one."""
    client, large = site.fleet.client, f"{_SETTING // 2}:siem:idempotency:large"
    index, total = keys.idempotency_index(hashlib.sha256(OURS.encode()).hexdigest()[:32])
    client.zadd(index, {large: time.time() * 1000 - 60_000})
    client.incrby(total, _SETTING // 2)
    try:
        with running(site.fleet, idempotency_bytes=_SETTING) as served:
            visitor = served.visitor()
            with closing(visitor.http):
                answer = visitor.http.post(NEW, data=form_of(visitor, "clicked"))
        assert answer.status_code == 303
        assert client.zscore(index, large) is not None
    finally:
        client.zrem(index, large)
        client.decrby(total, _SETTING // 2)
