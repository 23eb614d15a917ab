"""What a syslog receiver is asked, which never answers: does a real event leave, and what happens then.

A sender is done once the receiver's system has the bytes. Here there is time to wait a little longer, and to
see whether the receiver hangs up on what it was sent, as one does that waits for TLS, or that is not there.
"""

import contextlib
from dataclasses import replace

from worker.destinations.examine_answers import Answer, Result, Step, failed
from worker.destinations.examine_event import UNWANTED, Trial, arrived
from worker.destinations.examine_way import Target
from worker.destinations.syslog_cef import SyslogCefSender
from worker.model.deliveries import Ruling, Verdict
from worker.model.destinations import SyslogCef
from worker.model.failures import FailureCode
from worker.transports.failures import HUNG_UP
from worker.transports.probe import speaks_tls
from worker.transports.syslog_watch import SUSPICIOUS
from worker.transports.watched_guard import Reaction, WatchedGuard

#: How long a reaction is waited for, in seconds.
_WATCH = SUSPICIOUS

_LISTENS = "check host and port (514 for TCP and 6514 for TLS, unless changed), that the receiver runs there"
_LISTENS_UDP = "check the port (514 unless changed), and that the receiver listens on UDP, not on TCP alone"
#: What the sender says of a receiver that ended the connection.
_ENDS = frozenset({FailureCode.CONNECTION_LOST, FailureCode.CLOSED_UNCONFIRMED})


def syslog_target(config: SyslogCef) -> Target:
    """Say where the receiver listens."""
    host, port = config.target
    return Target(
        host=host,
        port=port,
        way=config.transport,
        secure_form="syslog+tls://",
        plain_form="syslog://",
        check_first=_LISTENS,
        plain_is_risky=False,
    )


class SyslogExamination:
    """The step of one receiver beyond the way there."""

    def __init__(self, config: SyslogCef, target: Target, guard: WatchedGuard, trial: Trial) -> None:
        """Send nothing yet; the trial's sender must dial through this very guard."""
        self._config = config
        self._target = target
        self._guard = guard
        self._trial = trial

    def summary(self) -> str:
        """Say what is configured, as far as the steps depend on it."""
        config = self._config
        if config.transport == "udp":
            framing = "one datagram a message"
        else:
            framing = "counted octets" if config.counts_octets else "a newline behind each message"
        return f"{config.header}, {framing}, at most {config.message_limit} bytes a message"

    def steps(self) -> list[Step]:
        """Return the only step."""
        return [Step("test event", self._test_event, "mutual tls")]

    def close(self) -> None:
        """Let go of nothing: the trial does."""

    def _test_event(self) -> Answer:
        if not self._trial.is_wanted:
            return UNWANTED
        if self._config.confirm_by_shutdown:
            objection = self._objection_without_end()
            if objection is not None:
                return objection
        return self._send(self._trial)

    def _objection_without_end(self) -> Answer | None:
        """Send it once more, without an end of ours: the other side's would pass for a confirmation."""
        with contextlib.closing(self._trial.varied(confirm_by_shutdown=False)) as unconfirmed:
            answer = self._send(unconfirmed)
        return None if answer.result is Result.OK else answer

    def _send(self, trial: Trial) -> Answer:
        ruling = trial.send()
        if ruling.verdict is not Verdict.ACCEPTED:
            return self._refused(ruling)
        match self._reaction(trial):
            case Reaction.NONE:
                return arrived(ruling, trial.event)
            case Reaction.REFUSED:
                return self._nobody_there()
            case Reaction.ANSWERED:
                trial.close()  # a receiver may take one connection at a time
                return self._tls_instead() or self._odd("answered it, where a syslog receiver is silent")
            case Reaction.HUNG_UP:
                trial.close()
                ended = self._odd("closed the connection behind the event")
                return self._tls_instead() or replace(ended, code=FailureCode.CLOSED_UNCONFIRMED)

    def _reaction(self, trial: Trial) -> Reaction:
        if self._target.way != "tls":
            return self._guard.reaction(_WATCH)
        # What goes on below TLS says nothing: only its sender can read it.
        sender = trial.prepare()
        hung_up = isinstance(sender, SyslogCefSender) and sender.watch(_WATCH) is not None
        return Reaction.HUNG_UP if hung_up else Reaction.NONE

    def _refused(self, ruling: Ruling) -> Answer:
        """Say why; a receiver that waits for TLS closes or resets the connection."""
        code = ruling.finding.code if ruling.finding is not None else ""
        answer = arrived(ruling, self._trial.event)
        if self._target.way == "udp" and code == FailureCode.CONNECT_FAILED:
            return replace(answer, remedy=_LISTENS_UDP)
        if code not in _ENDS:
            return answer
        # Of one that keeps silent, this must not be asked: it would log our half of a handshake.
        return self._tls_instead() or replace(answer, remedy=HUNG_UP)

    def _tls_instead(self) -> Answer | None:
        target = self._target
        if target.way != "tcp" or not speaks_tls(self._guard, target.host, target.port, _WATCH):
            return None
        return failed(f"{target} speaks TLS, and the url does not", f"write {target.secure_form} in the url")

    def _nobody_there(self) -> Answer:
        what = f"{self._target} refused the datagram: nothing listens on that UDP port"
        return failed(what, _LISTENS_UDP)

    def _odd(self, what: str) -> Answer:
        return failed(f"{self._target} took the event {self._trial.event.id}, but {what}", HUNG_UP)
