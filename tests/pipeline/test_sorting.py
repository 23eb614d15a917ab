"""Who wants events of which type and tenant is found out once, and anew when integrations have changed."""

import pytest

from tests.pipeline.test_router import subscribers
from worker.broker.snapshot import Subscription
from worker.pipeline import sorting
from worker.pipeline.sorting import KnownAudiences


def _wanted(tenant_id: str) -> dict[str, Subscription]:
    """Return one integration of this tenant."""
    return subscribers("a", tenant_id=tenant_id)


def test_the_same_integrations_are_asked_once() -> None:
    """To ask a thousand of them for every event that comes alone would cost more than to route it."""
    known, subscriptions = KnownAudiences(), _wanted("t")
    first = known.of(subscriptions)

    assert first.of("policy.deny", "t").integration_ids == ("a",)
    assert known.of(subscriptions) is first


def test_others_are_asked_anew() -> None:
    """A change makes another object, and what was known before is worth nothing."""
    known = KnownAudiences()
    assert known.of(_wanted("t")).of("policy.deny", "u").integration_ids == ()

    assert known.of(_wanted("u")).of("policy.deny", "u").integration_ids == ("a",)


def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever publishes may name a tenant that is none, each time another one."""
    monkeypatch.setattr(sorting, "MOST_KNOWN", 3)
    known, subscriptions = KnownAudiences(), _wanted("t")

    for number in range(20):
        known.of(subscriptions).of("policy.deny", f"t{number}")
        assert known.of(subscriptions).known <= 3
    assert known.of(subscriptions).of("policy.deny", "t").integration_ids == ("a",)
