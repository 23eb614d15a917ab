"""Signatures of Standard Webhooks 1.0.0: known answers, two secrets at once, and what is signed."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from worker.destinations.webhook.format import signature
from worker.integrations.webhook import signing_key

KEY = signing_key(SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
NEWER = signing_key(SecretStr("whsec_" + base64.b64encode(bytes(range(64))).decode()))


@pytest.mark.parametrize(
    ("message_id", "timestamp", "body", "expected"),
    [
        (
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            b'{"test": 2432232314}',
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "evt_1",
            1767323045,
            b'{"type":"policy.deny","timestamp":"2026-01-02T03:04:05.678Z","data":{"id":"evt_1"}}',
            "v1,3zBe135hBORxG97KBXX55570mLN//a1MGxSZ4eaxaSA=",
        ),
    ],
)
def test_known_answers(message_id: str, timestamp: int, body: bytes, expected: str) -> None:
    """Those that the specification's own libraries agree on."""
    assert signature([KEY], message_id, timestamp, body) == expected


def test_two_secrets_sign_side_by_side() -> None:
    """While a secret is changed, both signatures go along, separated by a space, the newest first."""
    both = signature([NEWER, KEY], "evt_1", 1767323045, b"{}")

    assert both.split(" ") == [signature([key], "evt_1", 1767323045, b"{}") for key in (NEWER, KEY)]


@given(st.binary(max_size=500), st.integers(0, 2**40), st.binary(min_size=24, max_size=64))
def test_exactly_the_bytes_are_signed(body: bytes, timestamp: int, key: bytes) -> None:
    """HMAC-SHA256 over `id.timestamp.body`, in base64, whatever bytes the body has."""
    mac = hmac.new(key, f"evt_1.{timestamp}.".encode() + body, hashlib.sha256)

    assert signature([key], "evt_1", timestamp, body) == "v1," + base64.b64encode(mac.digest()).decode()
