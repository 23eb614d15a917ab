"""What an answer says about acknowledgements: the number of a request, and which numbers are indexed."""

import json
from typing import Any

from worker.destinations.splunk_hec.verdict import HecMeaning, HecVerdict, confirmed_acks, hec_verdict

COUNT = 5


def answer(code: Any, **more: Any) -> bytes:
    """Write an answer of Splunk."""
    return json.dumps({"text": "Some words", "code": code} | more).encode()


def test_an_ack_id_is_a_number() -> None:
    """Nothing else that stands there can be asked for."""
    numbers: list[Any] = [0, 7, 10**17]
    others: list[Any] = [None, "0", 1.0, True, -1, 10**30]
    read = [hec_verdict(200, {}, answer(0, ackId=given), COUNT).ack_id for given in numbers + others]

    assert read == numbers + [None] * len(others)


def test_only_true_confirms() -> None:
    """`{"acks":{"0":true,"1":false}}` (Splunk: "About HEC indexer acknowledgment")."""
    for acks, confirmed in [
        ({"0": True, "1": False}, {0}),
        ({"12": True, "3": True}, {3, 12}),
        ({}, set()),
        ({"0": "true", "1": 1, "2": None, "3": [True]}, set()),
        ({"-1": True, "x": True, "": True, "\u0665": True, "9" * 5_000: True}, set()),
    ]:
        assert confirmed_acks(200, {}, json.dumps({"acks": acks}).encode()) == frozenset(confirmed), acks


def test_what_does_not_speak_of_acknowledgements_is_a_failure() -> None:
    """A 200 that is no answer to the question confirms nothing, and is said to be none."""
    for body in [b"[]", b'{"acks":[0]}', b'{"acks":true}', b"<html>", answer(0), answer(24)]:
        verdict = confirmed_acks(200, {}, body)

        assert isinstance(verdict, HecVerdict), body
        assert verdict.failure is not None, body
        assert (verdict.meaning, verdict.failure.code) == (HecMeaning.RETRY, "not_splunk"), body


def test_what_only_a_person_can_correct() -> None:
    """There is no sense in asking again where a setting is wrong."""
    is_final = {
        **dict.fromkeys([(400, 14), (401, 2), (403, 4), (403, None)], True),
        **dict.fromkeys([(400, 6), (503, 9), (503, 14), (429, 26), (413, None), (302, None)], False),
    }
    for (status, code), final in is_final.items():
        verdict = confirmed_acks(status, {}, b"" if code is None else answer(code))

        assert isinstance(verdict, HecVerdict), (status, code)
        assert verdict.is_configuration is final, (status, code)
        assert verdict.failure is not None, (status, code)
