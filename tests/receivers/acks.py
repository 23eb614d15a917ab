"""A Splunk whose token has indexer acknowledgement, as a script for the receiver of the tests.

Requests go to one script, questions about their acknowledgement to another; both can be changed at any
time. By default it answers as Splunk does: numbers count from 0 in each channel, what was taken is indexed at
once, and its `true` is reported once.
"""

import itertools
import json
import threading
from dataclasses import replace

from tests.receivers import scripts
from tests.receivers.scripts import Action, Request, Script
from worker.demo.splunk import ACK_PATH, Acknowledgements, Reply, judge_channel


class AckSplunk:
    """Follows `events` where events are posted, numbers what that takes, and follows `polls` where asked."""

    def __init__(self, events: Script | None = None, polls: Script | None = None) -> None:
        """Begin with nothing taken; left out, all goes well."""
        self.events = events or scripts.ok()
        self.polls = polls or self.truth
        self._acknowledgements = Acknowledgements()
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Action:
        """Decide on a request."""
        if request.path.partition("?")[0] == ACK_PATH:
            return self.polls(request)
        objection = judge_channel(request.channel)
        return scripts.answer(objection) if objection else self._numbered(request, self.events(request))

    def truth(self, request: Request) -> Action:
        """Answer as Splunk does."""
        with self._lock:
            indexed = self._acknowledgements.answer(request.channel, request.body)
        return scripts.answer(Reply(6)) if indexed is None else Action(200, indexed)

    def restart(self) -> None:
        """Forget all that was taken."""
        with self._lock:
            self._acknowledgements.forget()

    def _numbered(self, request: Request, action: Action) -> Action:
        if not action.takes:
            return action
        with self._lock:
            number = self._acknowledgements.number(request.channel)
        body = json.dumps(json.loads(action.body) | {"ackId": number}).encode()
        return replace(action, body=body)


def not_yet(request: Request) -> Action:
    """Answer `false` to whatever is asked; nothing is forgotten by it."""
    asked = json.loads(request.body)["acks"]
    return Action(200, json.dumps({"acks": {str(number): False for number in asked}}).encode())


def unnumbered(script: Script) -> Script:
    """Answer as a token without indexer acknowledgement; to questions, too."""

    def answer(request: Request) -> Action:
        return scripts.answer(Reply(14)) if request.path.startswith(ACK_PATH) else script(request)

    return answer


def balanced(*indexers: Script, sticky: bool, cookie: str = "node=%d") -> Script:
    """Stand before several indexers: each client goes on with the one that its cookie names, if `sticky`.

    Clients without a cookie, or else all of them, are led to each indexer in turn. The cookie is compared as
    the opaque bytes that it is.
    """
    turns = itertools.cycle(range(len(indexers)))
    lock = threading.Lock()

    def script(request: Request) -> Action:
        known = request.headers.get("Cookie", "")
        if sticky and (led := [at for at in range(len(indexers)) if cookie % at == known]):
            return indexers[led[0]](request)
        with lock:
            turn = next(turns)
        action = indexers[turn](request)
        line = f"{cookie % turn}; Expires=Wed, 21 Oct 2999 07:28:00 GMT; Path=/"
        return replace(action, headers=action.headers | {"Set-Cookie": line})

    return script
