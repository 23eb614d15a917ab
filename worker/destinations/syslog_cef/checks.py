"""What a syslog receiver is asked, which never answers: does a real event leave, and what happens then.

A sender is done once the receiver's system has the bytes. Here there is time to wait a little longer, and to
see whether the receiver hangs up on what it was sent, as one does that waits for TLS, or that is not there.
"""

import contextlib
from dataclasses import replace

from worker.destinations.checks import DiagnosisStep, StepResult, StepStatus, failed
from worker.destinations.checks.network import Target
from worker.destinations.checks.test_event import UNWANTED, TestEvent, arrived
from worker.destinations.syslog_cef.sender import SyslogCefSender
from worker.integrations.syslog_cef import SyslogCef
from worker.model.deliveries import DeliveryResult, Verdict
from worker.model.failures import FailureCode
from worker.transports.check_guards import PeerReaction, WatchedGuard
from worker.transports.failures import HUNG_UP
from worker.transports.probe import speaks_tls
from worker.transports.syslog.pool import SUSPICIOUS

#: How long a reaction is waited for, in seconds.
_WATCH = SUSPICIOUS

_LISTENS = "check host and port (514 for TCP and 6514 for TLS, unless changed), that the receiver runs there"
_LISTENS_UDP = "check the port (514 unless changed), and that the receiver listens on UDP, not on TCP alone"
#: What the sender says of a receiver that ended the connection.
_ENDS = frozenset({FailureCode.CONNECTION_LOST, FailureCode.CLOSED_UNCONFIRMED})


class SyslogChecks:
    """The step of one receiver beyond the way there."""

    def __init__(self, config: SyslogCef, guard: WatchedGuard, test_event: TestEvent) -> None:
        """Send nothing yet; the sender of the test event must dial through this very guard."""
        host, port = config.target
        self.target = Target(
            host=host,
            port=port,
            way=config.transport,
            secure_form="syslog+tls://",
            plain_form="syslog://",
            check_first=_LISTENS,
            plain_is_risky=False,
        )
        self._config = config
        self._guard = guard
        self._trial = test_event

    def summary(self) -> str:
        """Return what is configured, as far as the steps depend on it."""
        config = self._config
        if config.transport == "udp":
            framing = "one datagram a message"
        else:
            framing = "counted octets" if config.counts_octets else "a newline behind each message"
        return f"{config.header}, {framing}, at most {config.message_limit} bytes a message"

    def steps(self) -> list[DiagnosisStep]:
        """Return the only step."""
        return [DiagnosisStep("test event", self._test_event, "mutual tls")]

    def close(self) -> None:
        """Let go of nothing: the test event does."""

    def _test_event(self) -> StepResult:
        if not self._trial.is_wanted:
            return UNWANTED
        if self._config.confirm_by_shutdown:
            objection = self._objection_without_end()
            if objection is not None:
                return objection
        return self._send(self._trial)

    def _objection_without_end(self) -> StepResult | None:
        """Send it once more, without an end of ours: the other side's would pass for a confirmation."""
        with contextlib.closing(self._trial.varied(confirm_by_shutdown=False)) as unconfirmed:
            answer = self._send(unconfirmed)
        return None if answer.result is StepStatus.OK else answer

    def _send(self, event_step: TestEvent) -> StepResult:
        result = event_step.send()
        if result.verdict is not Verdict.ACCEPTED:
            return self._refused(result)
        match self._reaction(event_step):
            case PeerReaction.NONE:
                return arrived(result, event_step.event)
            case PeerReaction.REFUSED:
                return self._port_closed()
            case PeerReaction.ANSWERED:
                event_step.close()  # a receiver may take one connection at a time
                return self._tls_instead() or self._odd("answered it, where a syslog receiver is silent")
            case PeerReaction.HUNG_UP:
                event_step.close()
                ended = self._odd("closed the connection behind the event")
                return self._tls_instead() or replace(ended, code=FailureCode.CLOSED_UNCONFIRMED)

    def _reaction(self, event_step: TestEvent) -> PeerReaction:
        if self.target.way != "tls":
            return self._guard.reaction(_WATCH)
        # What goes on below TLS says nothing: only its sender can read it.
        sender = event_step.prepare()
        hung_up = isinstance(sender, SyslogCefSender) and sender.watch(_WATCH) is not None
        return PeerReaction.HUNG_UP if hung_up else PeerReaction.NONE

    def _refused(self, result: DeliveryResult) -> StepResult:
        """Return why; a receiver that waits for TLS closes or resets the connection."""
        code = result.failure.code if result.failure is not None else ""
        answer = arrived(result, self._trial.event)
        if self.target.way == "udp" and code == FailureCode.CONNECT_FAILED:
            return replace(answer, hint=_LISTENS_UDP)
        if code not in _ENDS:
            return answer
        # Of one that keeps silent, this must not be asked: it would log our half of a handshake.
        return self._tls_instead() or replace(answer, hint=HUNG_UP)

    def _tls_instead(self) -> StepResult | None:
        target = self.target
        if target.way != "tcp" or not speaks_tls(self._guard, target.host, target.port, _WATCH):
            return None
        return failed(f"{target} speaks TLS, and the url does not", f"write {target.secure_form} in the url")

    def _port_closed(self) -> StepResult:
        what = f"{self.target} refused the datagram: nothing listens on that UDP port"
        return failed(what, _LISTENS_UDP)

    def _odd(self, what: str) -> StepResult:
        return failed(f"{self.target} took the event {self._trial.event.id}, but {what}", HUNG_UP)
