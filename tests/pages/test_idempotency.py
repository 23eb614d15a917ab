"""What is kept of forms that were carried out, so that a second click does nothing: how much, and what."""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec
from pydantic import SecretStr

from tests.pages.conftest import OURS, Site, running
from tests.pages.test_drafts import NEW, form_of
from worker.broker import keys
from worker.vault.vault import new_key

_SETTING = 200_000_000


def test_no_short_secret_of_a_form_can_be_tried_out_on_what_redis_keeps(site: Site) -> None:
    """Who reads Redis may know all of a form but one secret; its digest alone would tell that."""
    client: Any = site.fleet.client
    visitor = site.visitor()
    form = form_of(visitor, "guessed", token="4711") | {"url": ["https://guessed.example.com:8088/"]}
    before = set(client.keys("siem:idempotency:*"))
    assert visitor.http.post(NEW, data=form).status_code == 303
    new = [one for one in set(client.keys("siem:idempotency:*")) - before if client.type(one) == b"string"]
    kept = b"".join(client.get(one) or b"" for one in new)
    typed = [(name, text) for name, texts in form.items() for text in texts if name not in {"csrf", "form"}]
    ways: list[Callable[[Any], bytes]] = [msgspec.json.encode, lambda known: json.dumps(known).encode()]
    digests = [hashlib.sha256(way(typed)).hexdigest() for way in ways]

    assert b"form-digest" in kept
    assert not [one for one in digests if one.encode() in kept]


def test_a_form_that_comes_twice_is_known_after_a_rotation_of_keys(site: Site) -> None:
    """The key that proved what was in it stands behind another one by then."""
    visitor = site.visitor()
    form = form_of(visitor, "rotated")
    first = visitor.http.post(NEW, data=form)
    key = (site.fleet.settings.data_dir / "secret.key").read_text().strip()
    with running(site.fleet, secret_keys=SecretStr(f"{new_key()},{key}")) as rotated:
        again = rotated.visitor()
        with closing(again.http):
            again.http.cookies = visitor.http.cookies
            second = again.http.post(NEW, data=form)

    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["location"] == second.headers["location"]


def test_a_click_leaves_the_kept_answers_that_the_setting_allows(site: Site) -> None:
    """It once cut them to the share that holds where no one has set another one."""
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
