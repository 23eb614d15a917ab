"""What of Redis is given on to kombu: work orders and remote control as Celery writes them, and no more."""

from typing import Any

from kombu.transport.redis import PrefixedRedisPubSub

from worker.broker.order_messages import InvalidMessage, check_broadcast, read_order
from worker.broker.refused_messages import RefusedMessages

#: What this process has dropped. One for the module: kombu makes its channels by itself.
refused = RefusedMessages()
#: Behind this, the names of channels of remote control, and of lists with the answers to it (kombu.pidbox).
_PIDBOX = "celery.pidbox"


class CheckedPubSub(PrefixedRedisPubSub):
    """A client that hears what is broadcast to workers, or of their tasks, if it is in order."""

    def parse_response(self, *args: Any, **options: Any) -> Any:
        """Read a message; kombu passes over one without content, and so over what is to be dropped."""
        found = super().parse_response(*args, **options)
        if found is None or not _text(found[0]).endswith("message"):
            return found
        *heading, content = found
        channel = _text(heading[-1])
        return [*heading, content if _is_in_order(content, channel) else b""]


def admitted(queue: Any, content: bytes) -> tuple[Any, bytes] | None:
    """Return what was taken from a list, an order written anew; None if it is to be dropped."""
    name = _text(queue)
    if name.endswith(_PIDBOX):  # the answers to `celery inspect` and `control`
        return (queue, content) if _is_in_order(content, name) else None
    try:
        return queue, read_order(content, name)
    except InvalidMessage as error:
        refused.note(error, name)
        return None


def _is_in_order(content: bytes, channel: str) -> bool:
    """Whether a broadcast, or an answer to one, may be given on; one that may not is noted."""
    is_command = channel.endswith(_PIDBOX) and ".reply." not in channel
    try:
        check_broadcast(content, is_command=is_command)
    except InvalidMessage as error:
        refused.note(error, "remote control")
        return False
    return True


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
