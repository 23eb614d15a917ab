"""SIEMs that something is wrong with, each in its own way, over real sockets; and what the doctor should say.

Each way is a context manager that gives the destination of an integration to it.
"""

import contextlib
import datetime as dt
import json
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import trustme

from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action, Request, Script
from tests.transports.certificates import demanding, self_signed, server_context
from tests.transports.dead_addresses import full_queue
from tests.transports.endpoint import Behaviour, Endpoint, Visit
from worker.demo.splunk import ACK_PATH, EVENT_PATHS, Reply

HOST = "127.0.0.1"
#: Each of these is configured somewhere, and may appear nowhere.
SECRETS = ("hec-secret-token", "bearer-secret-token", "secret-path", "PRIVATE KEY")
PATH = "/services/collector/event"

Document = dict[str, Any]
Opened = AbstractContextManager[Document]


@dataclass(frozen=True)
class Broken:
    """A broken SIEM, the step that finds it out, and words of the cause and of the remedy."""

    name: str
    opened: Callable[[], Opened]
    step: str
    cause: str
    hint: str
    warns: bool = False


CA = trustme.CA()
_TRUSTED = {"ca_pem": CA.cert_pem.bytes().decode()}
_LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def _splunk(url: str, **options: Any) -> Document:
    return {"type": "splunk_hec", "url": url, "token": SECRETS[0]} | options


def _webhook(url: str, **options: Any) -> Document:
    auth = {"kind": "bearer", "token": SECRETS[1]}
    return {"type": "webhook", "url": f"{url}/{SECRETS[2]}", "auth": auth} | options


def _syslog(url: str, **options: Any) -> Document:
    return {"type": "syslog_cef", "url": url} | options


def _nowhere(document: Document) -> Opened:
    return contextlib.nullcontext(document)


@contextmanager
def _closed_port() -> Iterator[Document]:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    yield _splunk(f"https://{HOST}:{port}{PATH}")


@contextmanager
def _closed_udp_port() -> Iterator[Document]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
    yield _syslog(f"syslog+udp://{HOST}:{port}")


@contextmanager
def _silent_address() -> Iterator[Document]:
    with full_queue(HOST) as port:
        yield _splunk(f"https://{HOST}:{port}{PATH}")


@contextmanager
def _served_by(context: Callable[[], ssl.SSLContext], **options: Any) -> Iterator[Document]:
    with HecReceiver(scripts.ok(), tls=context()) as receiver:
        yield _splunk(receiver.url, **options)


def _certified(host: str = HOST, **options: Any) -> ssl.SSLContext:
    return server_context(CA.issue_cert(host, **options))


def _self_signed() -> ssl.SSLContext:
    certificate, key = self_signed()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate + key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _identified(ca: trustme.CA) -> Document:
    own = ca.issue_cert("worker")
    key = own.private_key_pem.bytes().decode()
    return {"client_cert_pem": own.cert_chain_pems[0].bytes().decode(), "client_key_pem": key}


@contextmanager
def _answering(script: Script, **options: Any) -> Iterator[Document]:
    with HecReceiver(script) as receiver:
        yield _splunk(receiver.url, **options)


@contextmanager
def _other_scheme(document: Callable[..., Document], scheme: str, *, tls: bool) -> Iterator[Document]:
    """Listen with TLS, or without, for an integration whose url says the opposite."""
    with HecReceiver(tls=_certified() if tls else None) as receiver:
        yield document(f"{scheme}://{HOST}:{receiver.port}")


@contextmanager
def _hook(script: Script) -> Iterator[Document]:
    with HecReceiver(script) as receiver:
        yield _webhook(receiver.base_url)


@contextmanager
def _receiver(scheme: str, behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[Document]:
    with Endpoint(behaviour, tls=tls) as endpoint:
        yield _syslog(f"{scheme}://{HOST}:{endpoint.port}", **(_TRUSTED if tls else {}))


def _reads(visit: Visit) -> None:
    while visit.connection.recv(65536):
        pass


def _waits_for_tls(visit: Visit) -> None:
    """Shake hands, and hang up at whatever else comes, as a syslog server does that wants TLS."""
    with contextlib.suppress(OSError):
        _certified().wrap_socket(visit.connection, server_side=True).close()


def _reading_once(visit: Visit) -> None:
    visit.connection.recv(65536)


def _splunk_says(code: int) -> Script:
    """Answer with this code wherever events are posted; health, and what else there is, is well."""

    def script(request: Request) -> Action:
        is_post = request.path.partition("?")[0] in EVENT_PATHS
        return scripts.answer(Reply(code)) if is_post else scripts.ok()(request)

    return script


def _wrong_index(request: Request) -> Action:
    return scripts.incorrect_index()(request) if request.events else scripts.ok()(request)


def _without_ack(request: Request) -> Action:
    if request.path.startswith(ACK_PATH):
        return scripts.answer(Reply(14))
    return scripts.ok()(request)


def _with_ack(request: Request) -> Action:
    if request.path.startswith(ACK_PATH):
        return Action(200, json.dumps({"acks": {"0": False}}).encode())
    return scripts.ok()(request)


def _slow_clock(request: Request) -> Action:
    action = scripts.ok()(request)
    return replace(action, headers={"Date": scripts.http_date(-3600)})


_NO_CERT = "give client_cert_pem and client_key_pem"

BROKEN = (
    Broken(
        "unknown-name",
        partial(_nowhere, _splunk("https://no-such-host.invalid:8088")),
        "name",
        "no-such-host.invalid does not resolve",
        "check the name",
    ),
    Broken(
        "closed-network",
        partial(_nowhere, _splunk("https://10.255.255.1:8088")),
        "address",
        "10.255.255.1 is a private address",
        "SIEM_ALLOWED_NETWORKS=10.255.255.1/32",
    ),
    Broken(
        "metadata-service",
        partial(_nowhere, _webhook("http://169.254.169.254")),
        "address",
        "keep their metadata service",
        "no setting opens this one",
    ),
    Broken(
        "nobody-listens", _closed_port, "connection", "connection refused by 127.0.0.1:", "HEC is enabled"
    ),
    Broken(
        "silent-address", _silent_address, "connection", "no answer from 127.0.0.1:", "let firewalls pass"
    ),
    Broken(
        "expired",
        partial(_served_by, partial(_certified, not_after=_LONG_AGO), **_TRUSTED),
        "tls",
        "has expired",
        "renew it",
    ),
    Broken(
        "other-host",
        partial(_served_by, partial(_certified, "splunk.example.com"), **_TRUSTED),
        "tls",
        "made out to another name than 127.0.0.1 (it carries splunk.example.com)",
        "use a name that it carries in the url",
    ),
    Broken(
        "self-signed",
        partial(_served_by, _self_signed),
        "tls",
        "is self-signed",
        "give that certificate as ca_pem",
    ),
    Broken(
        "unknown-ca",
        partial(_served_by, _certified),
        "tls",
        "signed by a CA that is not trusted here",
        "give that CA as ca_pem",
    ),
    Broken(
        "plain-on-https",
        partial(_other_scheme, _splunk, "https", tls=False),
        "tls",
        "does not speak TLS on this port",
        "the url's form without TLS",
    ),
    Broken(
        "tls-on-http",
        partial(_other_scheme, _splunk, "http", tls=True),
        "health",
        "speaks TLS, and the url does not",
        "write https:// in the url",
    ),
    Broken(
        "client-certificate-wanted",
        partial(_served_by, lambda: demanding(_certified(), CA), **_TRUSTED),
        "mutual tls",
        "demands a client certificate",
        _NO_CERT,
    ),
    Broken(
        "client-certificate-refused",
        partial(_served_by, lambda: demanding(_certified(), CA), **_TRUSTED, **_identified(trustme.CA())),
        "mutual tls",
        "does not accept our client certificate",
        "check client_cert_pem",
    ),
    Broken("wrong-token", partial(_answering, _splunk_says(4)), "token", "Invalid token (code 4)", "`token`"),
    Broken(
        "disabled-token",
        partial(_answering, _splunk_says(1)),
        "token",
        "Token disabled (code 1)",
        "enable the token",
    ),
    Broken(
        "wrong-index",
        partial(_answering, _wrong_index, index="nonesuch"),
        "test event",
        "Incorrect index (code 7)",
        "`index`",
    ),
    Broken(
        "no-splunk", partial(_answering, scripts.html()), "token", "an answer that is not Splunk's", "`url`"
    ),
    Broken(
        "redirected",
        partial(_answering, scripts.redirect("https://splunk.example.com/", 301)),
        "token",
        "HTTP 301",
        "final address",
    ),
    Broken(
        "never-answers",
        partial(_answering, scripts.hang()),
        "health",
        "did not answer in full within 2 s",
        "overloaded",
    ),
    Broken(
        "busy", partial(_answering, _splunk_says(9)), "token", "Server is busy (code 9)", "queues are full"
    ),
    Broken(
        "ack-wanted",
        partial(_answering, _without_ack, use_ack=True),
        "acknowledgement",
        "gave no ackId",
        "`use_ack` off",
    ),
    Broken(
        "ack-unasked",
        partial(_answering, _with_ack),
        "acknowledgement",
        "the integration does not use it",
        "`use_ack` on",
        warns=True,
    ),
    Broken(
        "clock-off",
        partial(_answering, _slow_clock),
        "clock",
        "60 minutes behind",
        "set the wrong one by NTP",
        warns=True,
    ),
    Broken("webhook-404", partial(_hook, scripts.status(404)), "test event", "HTTP 404", "`url`"),
    Broken("webhook-410", partial(_hook, scripts.status(410)), "test event", "HTTP 410", "gone for good"),
    Broken("webhook-401", partial(_hook, scripts.status(401)), "test event", "HTTP 401", "`auth`"),
    Broken(
        "webhook-tls-on-http",
        partial(_other_scheme, _webhook, "http", tls=True),
        "test event",
        "speaks TLS, and the url does not",
        "write https:// in the url",
    ),
    Broken(
        "syslog-plain-to-tls",
        partial(_receiver, "syslog", _waits_for_tls),
        "test event",
        "speaks TLS, and the url does not",
        "write syslog+tls:// in the url",
    ),
    Broken(
        "syslog-tls-to-plain",
        partial(_receiver, "syslog+tls", _reads),
        "tls",
        "did not complete the TLS handshake",
        "wants syslog://",
    ),
    Broken(
        "syslog-client-certificate-wanted",
        partial(_receiver, "syslog+tls", _reads, demanding(_certified(), CA)),
        "mutual tls",
        "demands a client certificate",
        _NO_CERT,
    ),
    Broken(
        "syslog-hangs-up",
        partial(_receiver, "syslog", _reading_once),
        "test event",
        "closed the connection behind the",
        "the other `framing`",
    ),
    Broken(
        "udp-closed-port",
        _closed_udp_port,
        "test event",
        "nothing listens on that UDP port",
        "listens on UDP",
    ),
)
