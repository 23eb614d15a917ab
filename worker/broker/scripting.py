"""Loads the Lua scripts, each of which makes one step of an event's journey whole or not at all."""

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import redis
    from redis.commands.core import Script

#: What stands before each script that works on one backlog, in this order.
_SHARED = ("make_way", "slots", "breaker", "ordering")


def shared_script(client: "redis.Redis", name: str) -> "Script":
    """Return the script that works on one backlog: see `slots.lua` for the keys it begins with."""
    return joined_script(client, *_SHARED, name)


def single_script(client: "redis.Redis", name: str) -> "Script":
    """Return the script that stands alone."""
    return client.register_script(script_text(name))


def appending_script(client: "redis.Redis", name: str) -> "Script":
    """Return the script that stands alone but for `make_way.lua`."""
    return joined_script(client, "make_way", name)


def joined_script(client: "redis.Redis", *names: str) -> "Script":
    """Return one script of these: the last one uses what the others define."""
    return client.register_script("".join(map(script_text, names)))


def script_text(name: str) -> str:
    """Return the script as it stands in its file."""
    return (files("worker.broker") / "scripts" / f"{name}.lua").read_text()
