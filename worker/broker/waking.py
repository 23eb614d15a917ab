"""Leasing free slots of integrations whose backlog waits, behind a hand-over or by itself.

A router asks for it in the transaction of its hand-over, which saves it a round trip for each. What cannot be
asked there (in a Redis that is full or has lost the scripts, or for many integrations) is asked afterwards.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from worker.broker.connection import ask_each, require_usable
from worker.broker.round_trips import Call, call_of
from worker.model.log_events import BACKLOG_WAKE_FAILED
from worker.model.orders import WorkOrder

if TYPE_CHECKING:
    import redis
    from redis.commands.core import Script


log = logging.getLogger(__name__)

#: So many integrations are woken in a transaction at the most: it holds up all other clients of Redis.
MOST_BEHIND = 8


class Wakes:
    """The integrations that one step wakes."""

    def __init__(self, client: "redis.Redis", script: "Script", calls: dict[str, Call]) -> None:
        """Wake by these calls, each by its integration's id."""
        self._client = client
        self._script = script
        self._left = calls
        self._replies: dict[str, Any] = {}

    def commands(self) -> list[tuple[Any, ...]]:
        """Return what to put behind the appends of a transaction; nothing if there are too many."""
        if len(self._left) > MOST_BEHIND:
            return []
        return [call_of(self._script, call) for call in self._left.values()]

    def answer(self, replies: Sequence[Any], *, is_done: bool = True) -> None:
        """Take the replies to these commands, errors among them; without any, they were not sent.

        If what they stand behind was not done, the orders among them: who got none is asked again behind it.
        """
        for one, reply in zip(tuple(self._left), replies, strict=False):
            if isinstance(reply, list) or (is_done and not isinstance(reply, NoScriptError)):
                self._replies[one] = reply
                del self._left[one]

    def skip(self, integration_ids: Iterable[str]) -> None:
        """Wake none of these, unless that was done already."""
        for one in integration_ids:
            self._left.pop(one, None)

    def orders(self) -> list[WorkOrder]:
        """Return the orders, which are yet to be issued; ask for what was not answered.

        Raises BrokerUnavailable.
        """
        replies = ask_each(self._client, self._script, list(self._left.values()))
        self._replies |= zip(self._left, replies, strict=True)
        return list(_orders(self._replies.items()))


def _orders(replies: Iterable[tuple[str, Any]]) -> Iterable[WorkOrder]:
    for integration_id, reply in replies:
        if isinstance(reply, Exception):
            require_usable(reply)
            # One backlog whose keys are not what they should be must not keep the others waiting.
            BACKLOG_WAKE_FAILED.log(log, integration=integration_id, error=str(reply))
        elif reply:
            yield WorkOrder.leased(integration_id, reply)
