"""Idempotency-Key: what comes twice is done once."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.api.conftest import OURS, THEIRS, Api
from tests.fleet import wait_until
from worker.broker.heartbeat import API, Heartbeat
from worker.broker.idempotency import Idempotency, IdempotencyLock
from worker.broker.key_holders import apis_show_sealed_urls

WEBHOOK = {"type": "webhook", "url": "https://hook.example.com/in"}
PATH = "/integrations/siem"


def test_the_same_request_is_answered_as_before(api: Api) -> None:
    """A client that missed the answer asks again, and learns of the one that was made."""
    key = {"Idempotency-Key": "again"}
    first, second = (api.ask("POST", PATH, json=WEBHOOK, headers=key) for _ in range(2))

    assert first.status_code == second.status_code == 201
    assert first.content == second.content
    assert first.headers["Location"] == second.headers["Location"]
    assert first.headers["ETag"] == second.headers["ETag"]


def test_a_key_belongs_to_one_request_of_one_tenant(api: Api) -> None:
    """With another body the key is refused; with another tenant's key it is another one."""
    key = {"Idempotency-Key": "mine"}
    made = api.ask("POST", PATH, json=WEBHOOK, headers=key)
    other_body = api.ask("POST", PATH, json=WEBHOOK | {"name": "other"}, headers=key)
    other_tenant = api.ask("POST", PATH, json=WEBHOOK, headers=key, tenant=THEIRS)

    assert (other_body.status_code, other_body.json()["field"]) == (422, "Idempotency-Key")
    assert other_tenant.status_code == 201
    assert other_tenant.json()["id"] != made.json()["id"]


def test_a_mistake_uses_no_key_up(api: Api) -> None:
    """Who has read what is wrong corrects it, and sends it with the same key."""
    key = {"Idempotency-Key": "mended"}
    wrong = api.ask("POST", PATH, json=WEBHOOK | {"max_retries": 9}, headers=key)
    right = api.ask("POST", PATH, json=WEBHOOK, headers=key)

    assert (wrong.status_code, right.status_code) == (422, 201)


def test_one_of_many_at_once_is_done(api: Api) -> None:
    """Of requests that come together, one makes it; the others must wait, or get what it made."""
    begin = threading.Barrier(6)

    def ask(_number: int) -> tuple[int, str]:
        begin.wait()
        answer = api.ask("POST", PATH, json=WEBHOOK, headers={"Idempotency-Key": "rush"})
        return answer.status_code, answer.json().get("id", "")

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(ask, range(6)))

    made = {found for status, found in answers if status == 201}
    assert len(made) == 1
    assert {status for status, _ in answers} <= {201, 409}


@pytest.mark.parametrize("has_earlier_api", [False, True])
def test_no_short_secret_of_a_request_can_be_tried_out_on_what_redis_keeps(
    api: Api, *, has_earlier_api: bool
) -> None:
    """But while an API of the release before runs, which knows a request by its digest alone."""
    raw = b'{"type":"webhook","url":"https://hook.example.com/in","name":"%d"}' % has_earlier_api
    headers = {"Idempotency-Key": f"guessed {has_earlier_api}", "Content-Type": "application/json"}
    with ExitStack() as running:
        if has_earlier_api:
            earlier = Heartbeat(api.resources.client, API)
            earlier.start()
            running.callback(earlier.stop)
            wait_until(lambda: not apis_show_sealed_urls(api.resources.client), "an earlier API runs")
        answers = [api.ask("POST", PATH, content=raw, headers=headers) for _ in range(2)]
    wait_until(lambda: apis_show_sealed_urls(api.resources.client), "no earlier API runs")
    answers.append(api.ask("POST", PATH, content=raw, headers=headers))
    other = api.ask("POST", PATH, content=raw.replace(b"/in", b"/out"), headers=headers)
    client: Any = api.resources.client
    kept = [client.get(key) for key in client.keys("siem:idempotency:*") if client.type(key) == b"string"]

    assert [one.status_code for one in answers] == [201] * 3
    assert len({one.json()["id"] for one in answers}) == 1
    assert other.status_code == 422
    assert any(hashlib.sha256(raw).hexdigest().encode() in one for one in kept) == has_earlier_api


def test_a_request_that_was_cut_short_is_taken_up(api: Api) -> None:
    """If the process died after it had made one, and before it could say so, the next try finds that one."""
    raw = b'{"type":"webhook","url":"https://hook.example.com/in"}'
    leave = Idempotency(api.resources.client, api.resources.config.idempotency_bytes).begin(
        OURS, "integrations", "cut", raw
    )
    assert isinstance(leave, IdempotencyLock)
    headers = {"Idempotency-Key": "cut", "Content-Type": "application/json"}
    under_way = api.ask("POST", PATH, content=raw, headers=headers)
    leave.give_up()
    done = [api.ask("POST", PATH, content=raw, headers=headers) for _ in range(2)]

    assert under_way.status_code == 409
    assert under_way.headers["Retry-After"] == "1"
    assert [answer.status_code for answer in done] == [201, 201]
    assert {answer.json()["id"] for answer in done} == {f"int_{leave.name}"}
