"""The steps that every kind of SIEM has in common: from its name to an encrypted connection.

Input: where an integration leads. Output: the steps `name`, `address`, `connection`, `tls` and `mutual
tls`, to be asked in this order, for each rests on what the one before has found.
"""

from dataclasses import dataclass, replace
from typing import Literal

from worker.destinations.checks import DiagnosisStep, StepResult, failed, failed_with, ok, skipped, warning
from worker.integrations import TlsOptions
from worker.model.errors import ConnectFailed, DeadlinePassed, OutOfResources, TransportError
from worker.model.failures import FailureCode
from worker.transports.certificates import Certificate, certificates_in
from worker.transports.guard import Guard
from worker.transports.probe import Candidate, Handshake, ProbedConnection, candidates, connect_first
from worker.transports.tls_failures import SPLUNK_CA

#: A certificate that ends in less than this many days is warned of.
SOON = 21
#: How long a server may take to say what it makes of our certificate, in seconds; most say it at once.
_HEARING = 1.0
_MOST_SHOWN = 8

#: OpenSSL goes by the common name then; most other clients do not.
_COMMON_NAME_ONLY = (
    "it names its host in the common name alone, which is no name of a server any more (RFC 9525, section "
    "2): it is taken today, and a later release may refuse it"
)
_REISSUE = "have it reissued, with {} as a subject alternative name"
_ON_TIME = "renew it before then: nothing is delivered from that day on"


@dataclass(frozen=True, slots=True)
class Target:
    """Where an integration leads, and what is spoken there.

    `secure_form` and `plain_form` are the beginnings of a url with and without TLS, `check_first` is what to
    look at when nothing listens there, `plain_is_risky` whether without TLS a secret could be read on its
    way.
    """

    host: str
    port: int
    way: Literal["tcp", "tls", "udp"]
    secure_form: str
    plain_form: str
    check_first: str
    plain_is_risky: bool

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NetworkChecks:
    """The way to one SIEM; keeps the connection between its steps, so `close` it."""

    def __init__(self, guard: Guard, target: Target, options: TlsOptions, seconds: float) -> None:
        """Dial nothing yet; each step may take that many seconds."""
        self._guard = guard
        self._target = target
        self._options = options
        self._seconds = seconds
        self._found: list[Candidate] = []
        self._connection: ProbedConnection | None = None

    def steps(self) -> list[DiagnosisStep]:
        """Return the steps; the first of them needs the step `configuration`."""
        return [
            DiagnosisStep("name", self._look_up, "configuration"),
            DiagnosisStep("address", self._judge, "name"),
            DiagnosisStep("connection", self._connect, "address"),
            DiagnosisStep("tls", self._shake_hands, "connection"),
            DiagnosisStep("mutual tls", self._introduce, "tls"),
        ]

    def peers(self) -> list[str]:
        """Return the places that may be dialled, as "ip:port"."""
        port, found = self._target.port, [one.ip for one in self._found if one.objection is None]
        return [f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip in found]

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()

    def _look_up(self) -> StepResult:
        target = self._target
        self._found = candidates(
            self._guard, target.host, target.port, self._seconds, datagrams=target.way == "udp"
        )
        ips = [one.ip for one in self._found]
        if ips == [target.host]:
            return ok(f"{target.host} is an address: there is nothing to look up")
        return ok(f"{target.host} is {_listed(ips)}")

    def _judge(self) -> StepResult:
        basis = self._guard.basis
        verdicts = _listed([_verdict(one, basis) for one in self._found])
        closed = [one for one in self._found if one.objection is not None]
        if len(closed) == len(self._found):
            return failed(verdicts, _opening(closed, basis))
        if closed:
            return warning(
                verdicts, f"only open addresses are dialled; to open the others, {_opening(closed, basis)}"
            )
        return ok(verdicts)

    def _connect(self) -> StepResult:
        target = self._target
        if target.way == "udp":
            return skipped("UDP knows no connections: nothing can be known before something is sent")
        ips = [one.ip for one in self._found if one.objection is None]
        try:
            self._connection = made = connect_first(self._guard, target.host, ips, target.port, self._seconds)
        except OutOfResources as error:
            return failed_with(error)
        except ConnectFailed as error:
            hint = f"{target.check_first}, and that no firewall is in between"
            return failed(str(error), hint, FailureCode.CONNECT_FAILED)
        except DeadlinePassed as error:
            hint = f"let firewalls pass connections from the workers to {target}"
            return failed(str(error), hint, FailureCode.CONNECT_FAILED)
        if made.missed:
            hint = "correct these addresses, or take them out of the DNS: now and then, each costs a moment"
            return warning(f"connected to {made.ip}, but: {_listed(made.missed)}", hint)
        return ok(f"connected to {made.ip}, port {target.port}")

    def _shake_hands(self) -> StepResult:
        target = self._target
        if self._connection is None or target.way != "tls":
            return self._unencrypted()
        handshake = self._connection.shake_hands(self._options, target.host, self._seconds)
        if handshake.failure is not None:
            return self._distrusted(handshake, handshake.failure)
        if handshake.chain:
            self._guard.note_certificate(handshake.chain[0].ends.timestamp())
        shown = f"{handshake.version}, {_described(handshake.chain)}"
        if self._options.tls_server_name is not None:
            shown += f", verified for {self._options.tls_server_name}" if self._options.verify_tls else ""
        if not self._options.verify_tls:
            hint = "give its CA as ca_pem, and set the integration's verify_tls to true again"
            return warning(f"{shown}; it is not verified: any server can impersonate this SIEM", hint)
        if SPLUNK_CA in {one.subject for one in certificates_in(self._options.ca_pem or "")}:
            words = (
                f"{shown}; {SPLUNK_CA} and its key are in every Splunk: any server can impersonate this one"
            )
            return warning(words, "give the first certificate in this Splunk's server.pem as ca_pem instead")
        if self._goes_by_common_name(handshake.chain):
            name = self._options.server_name(target.host)
            return warning(f"{shown}; {_COMMON_NAME_ONLY}", _REISSUE.format(name))
        return _timely(shown, handshake.chain)

    def _goes_by_common_name(self, chain: tuple[Certificate, ...]) -> bool:
        """Whether the server has no other name, and is not trusted for being this very certificate."""
        if not chain or chain[0].names:
            return False
        return chain[0] not in certificates_in(self._options.ca_pem or "")

    def _unencrypted(self) -> StepResult:
        target = self._target
        if target.plain_is_risky:
            hint = f"use {target.secure_form} in the integration's url, if the SIEM can speak TLS"
            return warning("nothing is encrypted: secrets and events can be read on their way", hint)
        return skipped(f"the url chooses no TLS; {target.secure_form} would")

    def _distrusted(self, handshake: Handshake, failure: TransportError) -> StepResult:
        if isinstance(failure, DeadlinePassed):
            plain = f"what waits for plain text stays silent like this, and wants {self._target.plain_form}"
            hint = f"check that {self._target} speaks TLS: {plain}"
            return failed(str(failure), hint, FailureCode.TIMED_OUT)
        answer = failed_with(failure)
        if not handshake.chain and answer.code is FailureCode.TLS_FAILED:
            # It has shown nothing, so it may have ended the connection without looking at it.
            return replace(answer, code=FailureCode.CONNECTION_LOST)
        if not handshake.chain:
            return answer
        return failed(f"{answer.message} ({_described(handshake.chain)})", answer.hint or "")

    def _introduce(self) -> StepResult:
        try:
            return self._introduced()
        finally:
            # A simple receiver may serve one connection at a time, and others follow.
            self.close()

    def _introduced(self) -> StepResult:
        if self._connection is None or self._target.way != "tls":
            return skipped("without TLS there is no client certificate")
        said = self._connection.hear_whether_let_in(min(_HEARING, self._seconds))
        welcome = "the server has let us in" if said else "the server has not turned us away"
        if self._options.client_cert_pem is None:
            return ok(f"{welcome} without a client certificate")
        own = certificates_in(self._options.client_cert_pem)
        return _timely(f"{welcome} with our own {_described(own)}", own)


def _verdict(one: Candidate, basis: str) -> str:
    if one.objection is not None:
        return f"{one.ip} {one.objection.partition(': ')[0]}"
    return f"{one.ip} is {f'open by {basis}' if one.is_listed else 'public'}"


def _opening(closed: list[Candidate], basis: str) -> str:
    """Return what opens these addresses, or that nothing does."""
    if any("no setting" in (one.objection or "") for one in closed):
        return "use another address: no setting opens this one, for metadata services hand out credentials"
    if elsewhere := next((one.objection for one in closed if "test it there" in (one.objection or "")), None):
        return elsewhere.partition(": ")[2]
    networks = ",".join(f"{one.ip}/{128 if ':' in one.ip else 32}" for one in closed)
    return (
        f"start the workers with SIEM_ALLOWED_NETWORKS={networks} or a network around it; "
        f"this examination went by {basis}"
    )


def _described(chain: tuple[Certificate, ...]) -> str:
    if not chain:
        return "no certificate was shown"
    own, last = chain[0], _first_to_end(chain)
    names = f" for {_listed(own.names)}" if own.names else ""
    return (
        f"certificate of {own.subject}{names}, signed by {own.issuer}, chain of {len(chain)}, "
        f"{_ending(last)}{'' if last is own else f' (that of {last.subject})'}"
    )


def _ending(one: Certificate) -> str:
    verb = "ended" if one.days_left < 0 else "ends"
    days = f"{-one.days_left} days ago" if one.days_left < 0 else f"in {one.days_left} days"
    return f"{verb} {days}, on {one.ends:%Y-%m-%d}"


def _timely(shown: str, chain: tuple[Certificate, ...]) -> StepResult:
    if chain and _first_to_end(chain).days_left < SOON:
        return warning(shown, _ON_TIME)
    return ok(shown)


def _first_to_end(chain: tuple[Certificate, ...]) -> Certificate:
    return min(chain, key=lambda one: one.ends)


def _listed(words: "list[str] | tuple[str, ...]") -> str:
    more = len(words) - _MOST_SHOWN
    return ", ".join(words[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
