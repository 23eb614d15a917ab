"""Every failure code is classified, documented and understood by every release."""

import msgspec
import pytest

from worker.model.breaker import breaker_signal
from worker.model.deliveries import BreakerSignal, DeliveryResult, Failure, Verdict
from worker.model.failures import FailureCode, Origin


def test_a_code_says_who_can_correct_its_cause() -> None:
    """A code without an origin would be retried until its events die, whatever its hint promises."""
    assert [code for code in FailureCode if code.origin not in Origin] == []
    assert [code for code in FailureCode if not code.meaning] == []
    assert [code for code in FailureCode if code.is_setting] == [
        code for code in FailureCode if code.origin is Origin.SETTING
    ]


@pytest.mark.parametrize(
    "code",
    [
        FailureCode.PROXY_IN_THE_WAY,
        FailureCode.HEADERS_REFUSED,
        FailureCode.AUTH_REFUSED,
        FailureCode.TOKEN_INVALID,
    ],
)
def test_what_a_setting_causes_holds_the_backlog(code: FailureCode) -> None:
    """Its hint names a setting, so no event dies before it is changed."""
    result = DeliveryResult([0], Verdict.RETRY, 5, Failure(code, "HTTP 407", "change a setting", 407))

    assert breaker_signal([result]) is BreakerSignal.MISCONFIGURED


def test_a_code_of_another_release_keeps_its_text() -> None:
    """Workers and recorders of two releases run side by side during an upgrade."""
    packed = msgspec.msgpack.encode(Failure(FailureCode.read("brand_new"), "words", "hint"))

    failure = msgspec.msgpack.decode(packed, type=Failure)

    assert failure.code == "brand_new"
    assert not failure.code.is_setting
    assert msgspec.msgpack.encode(failure) == packed


def test_a_known_code_is_read_as_its_member() -> None:
    """What comes back from Redis is the member itself, so that it can be asked for its origin."""
    packed = msgspec.msgpack.encode(Failure(FailureCode.NAME_UNKNOWN, "words", "hint"))

    assert msgspec.msgpack.decode(packed, type=Failure).code is FailureCode.NAME_UNKNOWN
