"""`siem redis formats`: what has to leave Redis before a fleet goes back to an earlier release."""

from tests.cli.running import call
from tests.fleet import Fleet
from worker.broker import keys
from worker.broker.formats import Format, KnownFormats


def test_new_forms_are_held_until_nothing_is_left(empty: Fleet) -> None:
    """It says what is written and what is left, and its exit status tells a script when to go on."""
    client, environment = empty.client, empty.environment
    client.set(keys.FORMATS, Format.SHARED_CHUNKS)
    client.hset(keys.CHUNKS, "some", 2)
    try:
        shown = call(environment, "redis", "formats")
        held = call(environment, "redis", "formats", "--hold", "--json")
        assert not KnownFormats(client).has(Format.SHARED_CHUNKS)
        early = call(environment, "redis", "formats", "--hold")
        client.set(keys.FORMATS_HELD, int(client.get(keys.FORMATS_HELD) or 0) - 60_000)
        left = call(environment, "redis", "formats", "--hold")
        client.delete(keys.CHUNKS)
        client.xadd(keys.EVENTS, {"event": b"{}"})
        client.xadd(keys.EVENTS, {"events": b"{}\n{}"})
        client.xadd(keys.EVENTS, {"traceparent": b"x", "frame": b"\x01"})
        queued = call(environment, "redis", "formats", "--hold", "--json")
        client.delete(keys.EVENTS)
        drained = call(environment, "redis", "formats", "--hold")
    finally:
        client.delete(keys.CHUNKS, keys.EVENTS)
        released = call(environment, "redis", "formats", "--release", "--json")

    assert (queued.code, queued.report["left"]) == (1, {"frames": 2})
    assert (shown.code, shown.out) == (0, "Written: shared-chunks.\nLeft: 1 shared-chunks.\n")
    assert (held.code, held.report) == (
        1,
        {"held": True, "written": [], "left": {"shared-chunks": 1}, "drained": False},
    )
    assert (early.code, left.code) == (1, 1)
    assert (drained.code, drained.out.splitlines()[1]) == (0, "Left: nothing.")
    assert (released.code, released.report) == (
        0,
        {"held": False, "written": [], "left": {}, "drained": False},
    )
