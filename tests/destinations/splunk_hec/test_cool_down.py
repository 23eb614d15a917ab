"""Splunk codes 24 and 25: what was sent is taken, but Splunk will soon be full, so it is sent less."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.destinations.batches import attempt_of, soon
from tests.destinations.senders import splunk_to
from tests.receivers import scripts
from tests.receivers.acks import AckSplunk
from tests.receivers.hec import HecReceiver
from worker.destinations.splunk_hec.client import CoolDown
from worker.destinations.splunk_hec.sender import SplunkHecSender
from worker.destinations.splunk_hec.verdict import HecMeaning, HecVerdict
from worker.model.deliveries import DeliveryResult, Verdict

pytestmark = pytest.mark.slow

STRAINED = HecVerdict(HecMeaning.ACCEPTED, code=24)


def send(sender: SplunkHecSender) -> DeliveryResult:
    """Send one event; return its ruling."""
    [result] = sender.send(attempt_of(1), soon())
    return result


@pytest.mark.parametrize("use_ack", [False, True])
@pytest.mark.parametrize("code", [24, 25])
def test_rests_grow_until_splunk_is_well_again(code: int, use_ack: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """1 s at first, twice that with every such reply, 16 s at most; none any more after a plain 0."""
    replies = [scripts.strained(code)] * 6 + [scripts.ok(), scripts.strained(code), scripts.ok()]
    script = AckSplunk(scripts.sequence(*replies))
    with HecReceiver(script) as splunk, splunk_to(splunk.url, use_ack=use_ack) as sender:
        results = [send(sender) for _ in replies]

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    assert [result.cool_down for result in results] == [1, 2, 4, 8, 16, 16, 0, 1, 0]
    assert len(splunk.accepted_ids) == len(replies)


def test_a_failure_says_nothing_about_the_pace() -> None:
    """Between two strained replies, a busy or a broken one neither ends the rests nor makes them longer."""
    replies = [
        scripts.strained(24),
        scripts.busy(),
        scripts.close_mid_response("nothing"),
        scripts.close_mid_response("nothing"),  # the first one is no failure: its connection was kept
        scripts.strained(24),
    ]
    with HecReceiver(scripts.sequence(*replies)) as splunk, splunk_to(splunk.url) as sender:
        assert [send(sender).cool_down for _ in replies[1:]] == [1, 0, 0, 2]


def test_threads_count_together() -> None:
    """Every reply doubles the rest exactly once, whichever thread hears it."""
    pace = CoolDown()
    with ThreadPoolExecutor(4) as threads:
        rests = list(threads.map(lambda _: pace.cool_down_after(STRAINED), range(5)))

    assert sorted(rests) == [1, 2, 4, 8, 16]
