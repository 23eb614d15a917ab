"""What an answer says about acknowledgements: the number of a request, and which numbers are indexed."""

import json
from typing import Any

import pytest

from worker.destinations.splunk_hec.verdict import HecMeaning, HecVerdict, confirmed_acks, hec_verdict

COUNT = 5


def answer(code: Any, **more: Any) -> bytes:
    """Write an answer of Splunk."""
    return json.dumps({"text": "Some words", "code": code} | more).encode()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (0, 0),
        (7, 7),
        (10**17, 10**17),
        (None, None),
        ("0", None),
        (1.0, None),
        (True, None),
        (-1, None),
        (10**30, None),
    ],
)
def test_an_ack_id_is_a_number(given: Any, read: int | None) -> None:
    """Whatever else stands there cannot be asked for."""
    assert hec_verdict(200, {}, answer(0, ackId=given), COUNT).ack_id == read


@pytest.mark.parametrize(
    ("acks", "confirmed"),
    [
        ({"0": True, "1": False}, {0}),
        ({"12": True, "3": True}, {3, 12}),
        ({}, set()),
        ({"0": "true", "1": 1, "2": None, "3": [True]}, set()),
        ({"-1": True, "x": True, "": True, "\u0665": True, "9" * 5_000: True}, set()),
    ],
)
def test_only_true_confirms(acks: dict[str, Any], confirmed: set[int]) -> None:
    """`{"acks":{"0":true,"1":false}}` (Splunk: "About HEC indexer acknowledgment")."""
    assert confirmed_acks(200, {}, json.dumps({"acks": acks}).encode()) == frozenset(confirmed)


@pytest.mark.parametrize("body", [b"[]", b'{"acks":[0]}', b'{"acks":true}', b"<html>", answer(0), answer(24)])
def test_what_tells_nothing_about_acknowledgements_is_trouble(body: bytes) -> None:
    """A 200 that is no answer to the question confirms nothing, and is said to be none."""
    verdict = confirmed_acks(200, {}, body)

    assert isinstance(verdict, HecVerdict)
    assert verdict.failure is not None
    assert (verdict.meaning, verdict.failure.code) == (HecMeaning.RETRY, "not_splunk")


@pytest.mark.parametrize(
    ("status", "code", "final"),
    [
        *((400, 14, True), (401, 2, True), (403, 4, True), (403, None, True), (400, 6, False)),
        *((503, 9, False), (503, 14, False), (429, 26, False), (413, None, False), (302, None, False)),
    ],
)
def test_what_only_a_person_can_mend(status: int, code: int | None, final: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """There is no sense in asking again where a setting is wrong."""
    verdict = confirmed_acks(status, {}, b"" if code is None else answer(code))

    assert isinstance(verdict, HecVerdict)
    assert verdict.is_configuration is final
    assert verdict.failure is not None
