"""Volumes are written once a second, and none is forgotten before it was written."""

from worker.broker.volumes import PendingVolumes, Volume

KIND = ("policy.deny", "acme")


def test_they_are_due_once_a_second() -> None:
    """What comes meanwhile is added up."""
    now = 100.0
    pending = PendingVolumes(lambda: now)
    assert (pending.is_due(), pending.due()) == (False, {})
    pending.add({KIND: Volume(1, 10)})
    assert pending.due() == {KIND: Volume(1, 10)}
    pending.written(pending.due())

    pending.add({KIND: Volume(2, 20)})
    pending.add({KIND: Volume(3, 30), ("drift.warning", "acme"): Volume(1, 1)})
    now += 0.9
    assert not pending.is_due()
    now += 0.2
    assert pending.due() == {KIND: Volume(5, 50), ("drift.warning", "acme"): Volume(1, 1)}


def test_what_was_not_written_stays() -> None:
    """A hand-over that was refused had them with it; one to which none was given says nothing of them."""
    pending = PendingVolumes(lambda: 100.0)
    pending.add({KIND: Volume(1, 10)})
    assert pending.due() == pending.due() == {KIND: Volume(1, 10)}
    pending.written({})
    assert pending.take() == {KIND: Volume(1, 10)}
    assert pending.take() == {}
