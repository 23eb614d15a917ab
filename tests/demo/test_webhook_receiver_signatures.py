"""Standard Webhooks 1.0.0, as the demonstration's endpoint holds it."""

import pytest

from worker.demo.webhook_receiver import TOLERANCE, judge_signature, read_secret
from worker.destinations.webhook.format import signature

_KEY = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
_BODY = b'{"test": 2432232314}'
_NOW = 1614265330
#: Those of the specification's reference libraries.
_HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(_NOW),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def test_a_secret_of_another_kind_is_refused() -> None:
    """Standard Webhooks 1.0.0, "Signature scheme": 24 to 64 bytes, written as whsec_ and base64."""
    unprefixed = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    for secret in ("", "whsec_", unprefixed, "whsec_c2hvcnQ=", "whsec_" + "A" * 88):
        with pytest.raises(ValueError, match="24 to 64 random bytes") as caught:
            pytest.fail(f"{secret!r} is read as {read_secret(secret)!r}")
        assert "c2hvcnQ" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, 0.5, TOLERANCE, -TOLERANCE])
def test_a_right_signature_fits(seconds: float) -> None:
    """Standard Webhooks 1.0.0, the test vector: believed for five minutes, before and behind."""
    assert judge_signature(_KEY, _HEADERS, _BODY, _NOW + seconds) is None


def test_one_of_several_signatures_is_enough() -> None:
    """Standard Webhooks 1.0.0, "Signature scheme": a secret is rotated by signing with old and new."""
    for keys in ((_KEY, b"n" * 24), (b"n" * 24, _KEY)):
        both = signature(keys, _HEADERS["webhook-id"], _NOW, _BODY)

        assert judge_signature(_KEY, _HEADERS | {"webhook-signature": both}, _BODY, _NOW) is None, keys


def test_a_wrong_header_is_named() -> None:
    """Id, time and signature are all signed or checked."""
    for name, value, wrong in (
        ("webhook-id", "msg_other", "webhook-signature does not fit"),
        ("webhook-timestamp", str(_NOW + 1), "webhook-signature does not fit"),
        ("webhook-timestamp", str(_NOW - TOLERANCE - 1), "webhook-timestamp is more than five minutes off"),
        ("webhook-timestamp", str(_NOW + TOLERANCE + 1), "webhook-timestamp is more than five minutes off"),
        ("webhook-timestamp", "now", "webhook-timestamp is no number of seconds"),
        ("webhook-signature", "", "webhook-signature does not fit"),
        ("webhook-signature", "v1,AAAA", "webhook-signature does not fit"),
        (
            "webhook-signature",
            _HEADERS["webhook-signature"].replace("v1", "v2"),
            "webhook-signature does not fit",
        ),
    ):
        assert judge_signature(_KEY, _HEADERS | {name: value}, _BODY, _NOW) == wrong, (name, value)


def test_a_missing_header_is_named() -> None:
    """Without any one of the three nothing is believed."""
    for name in _HEADERS:
        headers = {other: value for other, value in _HEADERS.items() if other != name}

        assert judge_signature(_KEY, headers, _BODY, _NOW) == f"{name} is missing"


@pytest.mark.parametrize(("key", "body"), [(b"n" * 24, _BODY), (_KEY, _BODY + b" ")])
def test_key_and_body_count(key: bytes, body: bytes) -> None:
    """A signature is of these very bytes, with this very key."""
    assert judge_signature(key, _HEADERS, body, _NOW) == "webhook-signature does not fit"
