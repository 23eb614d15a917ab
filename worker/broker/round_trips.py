"""One round trip to Redis for some commands, without what a client and a pipeline of redis-py add to each.

While events trickle in, that is most of what a router or a worker does for an event: redis-py looks for
commands that it prepares, repeats or measures. Replies are as Redis sends them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, ResponseError

from worker.broker.connection_pool import LeanConnection

if TYPE_CHECKING:
    import redis
    from redis.client import Pipeline
    from redis.commands.core import Script

#: The keys and arguments of one call of a script.
Call = tuple[Sequence[Any], Sequence[Any]]


def ask(client: "redis.Redis", *commands: Sequence[Any]) -> list[Any]:
    """Send commands as they stand; return their replies, errors among them.

    Raises what redis-py raises when the connection fails: then it is not known what was done.
    """
    return _ask_through(client.connection_pool, commands)


def _ask_through(pool: Any, commands: Sequence[Sequence[Any]]) -> list[Any]:
    connection = pool.get_connection()
    try:
        return ask_by(connection, commands)
    finally:
        pool.release(connection)


def transact(pipeline: "Pipeline", commands: Sequence[Sequence[Any]]) -> list[Any]:
    """Do commands as one transaction, through the pool of a pipeline that watches no key.

    Returns their replies, errors among them. Raises what redis-py raises, and then nothing was done, unless
    the connection has failed.
    """
    *queued, done = _ask_through(pipeline.connection_pool, [("MULTI",), *commands, ("EXEC",)])
    if isinstance(done, Exception):
        # Redis carries out none if it has refused one; why is not in what it says at the end.
        raise next((one for one in queued if isinstance(one, Exception)), done)
    replies: list[Any] = done
    return replies


def ask_one(client: "redis.Redis", *command: Any) -> Any:
    """Send one command; return its reply as Redis sends it. Raises what redis-py raises."""
    [reply] = ask(client, command)
    if isinstance(reply, Exception):
        raise reply
    return reply


def ask_by(connection: Any, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """Do as `ask` does, by this connection of redis-py."""
    try:
        if isinstance(connection, LeanConnection):
            return connection.exchange(commands)
        connection.send_packed_command(connection.pack_commands(commands))
        return [_reply(connection) for _ in commands]
    except BaseException:
        connection.disconnect()  # an answer that was not read must not be taken for a later one
        raise


def ask_packed(connection: Any, pieces: Sequence[bytes], count: int) -> list[Any]:
    """Send so many commands that are written out, in pieces; return their replies, errors among them.

    Raises what redis-py raises when the connection fails, and leaves it as it is.
    """
    if isinstance(connection, LeanConnection):
        return connection.exchange_packed(pieces, count)
    connection.send_packed_command(pieces)
    return [_reply(connection) for _ in range(count)]


def call_of(script: "Script", call: Call) -> tuple[Any, ...]:
    """Return the command that runs a script which Redis has, as a rule."""
    of, words = call
    return "EVALSHA", script.sha, len(of), *of, *words


def run_script(client: "redis.Redis", script: "Script", call: Call) -> Any:
    """Run a script; return its reply. Raises what redis-py raises."""
    [reply] = ask(client, call_of(script, call))
    if isinstance(reply, NoScriptError):
        client.script_load(script.script)
        [reply] = ask(client, call_of(script, call))
    if isinstance(reply, Exception):
        raise reply
    return reply


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
