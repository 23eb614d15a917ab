"""What this process lacks is reported by its name, and never as the SIEM's fault, on every way to one."""

import errno
import os
import re
import threading
from ipaddress import ip_network

import pycurl
import pytest
import trustme
from pydantic import SecretStr

from tests.ports import free_port
from tests.transports.certificates import server_context
from tests.transports.endpoint import Endpoint, answers
from tests.transports.few_descriptors import few_descriptors
from tests.transports.ways import WAYS
from worker.integrations import TlsOptions
from worker.model.errors import ConnectFailed, NameUnknown, OutOfResources
from worker.model.failures import FailureCode
from worker.model.outages import Resource
from worker.transports.deadline import DeadlineSocket
from worker.transports.failures import describe
from worker.transports.guard import Guard
from worker.transports.shortages import shortage_behind
from worker.transports.syslog.connection import SyslogTarget
from worker.transports.syslog.datagrams import SyslogDatagrams
from worker.transports.tls import client_context

HOST = "127.0.0.1"
LOOPBACK = Guard([ip_network("127.0.0.0/8")])


@pytest.mark.parametrize(("way", "left"), [("hec", 0), ("webhook", 0), ("webhook", 1), ("syslog", 0)])
def test_a_process_without_descriptors_says_so(guard: Guard, ca: trustme.CA, way: str, left: int) -> None:
    """Whatever could not be opened, be it libcurl's own: not that the SIEM refused or is unknown."""
    options = TlsOptions(ca_pem=ca.cert_pem.bytes().decode())
    with Endpoint(answers(), tls=server_context(ca.issue_cert(HOST))) as endpoint:
        with few_descriptors(left), pytest.raises(OutOfResources, match="Too many open files") as short:
            WAYS[way](guard, HOST, endpoint.port, options, 100)
        failure = describe(short.value)

        assert failure.code is FailureCode.OUT_OF_RESOURCES
        assert "ulimit -n" in failure.hint
        assert WAYS[way](guard, HOST, endpoint.port, options, 100) == "200"


def test_datagrams_say_so_as_well() -> None:
    """UDP takes a descriptor, too."""
    sender = SyslogDatagrams(LOOPBACK, SyslogTarget("127.0.0.1", 9), rate=5000, connections=1)
    with few_descriptors(0), pytest.raises(OutOfResources, match="Too many open files"):
        sender.send([b"x"], 10)
    sender.close()


@pytest.mark.parametrize("left", [0, 1])
def test_a_name_that_cannot_be_looked_up_is_not_unknown(left: int) -> None:
    """Without descriptors, glibc says of every name that it is unknown."""
    with few_descriptors(left), pytest.raises(OutOfResources, match="Too many open files"):
        LOOPBACK.dial("localhost.invalid", 9, 10)
    with pytest.raises(NameUnknown):
        LOOPBACK.dial("localhost.invalid", 9, 10)


def test_a_client_key_needs_a_file_for_a_moment(ca: trustme.CA) -> None:
    """OpenSSL reads keys only from files."""
    own = ca.issue_cert("worker")
    options = TlsOptions(
        client_cert_pem=own.cert_chain_pems[0].bytes().decode(),
        client_key_pem=SecretStr(own.private_key_pem.bytes().decode()),
    )
    with few_descriptors(0), pytest.raises(OutOfResources, match="cannot prepare TLS: Too many open files"):
        client_context(options)
    client_context(options)


def test_a_thread_that_cannot_be_started_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are looked up in threads; no limit on threads holds for root, so this is a stand-in."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OutOfResources, match=r"cannot start a thread to look up siem\.example\.com") as short:
        LOOPBACK.dial("siem.example.com", 9, 10)
    assert "pids limit" in describe(short.value).hint


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM, errno.ENFILE])
def test_a_connection_that_this_machine_cannot_make(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """No port, no memory, no file in the whole machine: none of it can be used up for a test."""

    def refuse(_socket: DeadlineSocket, _address: object) -> int:
        return number

    monkeypatch.setattr(DeadlineSocket, "connect_ex", refuse)
    with pytest.raises(OutOfResources, match=re.escape(f"127.0.0.1:9: {os.strerror(number)}")) as short:
        LOOPBACK.dial(HOST, 9, 10)
    assert describe(short.value).code is FailureCode.OUT_OF_RESOURCES


def test_what_the_siem_does_is_no_shortage() -> None:
    """A port where nothing listens stays a matter of the SIEM."""
    with pytest.raises(ConnectFailed) as failed:
        LOOPBACK.dial(HOST, free_port(), 10)
    assert describe(failed.value).code is FailureCode.CONNECT_FAILED


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("can't start new thread"), "cannot start a thread"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (OutOfResources("said before", Resource.MEMORY), "said before"),
    ],
)
def test_an_unexpected_error_may_be_a_shortage(error: Exception, words: str) -> None:
    """The worker says so, instead of asking for a report."""
    assert words in str(shortage_behind(error))


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.EACCES, "x"), pycurl.error("x")])
def test_other_unexpected_errors_are_none(error: Exception) -> None:
    """While descriptors can be had; a library that names no reason is believed without them."""
    assert shortage_behind(error) is None
    with few_descriptors(0):
        found = shortage_behind(error)
    assert (found is None) is isinstance(error, OSError)


def test_a_few_that_are_left_by_now_prove_nothing() -> None:
    """Others may have had them when the look-up failed: it goes on record as a shortage all the same."""
    with few_descriptors(5), pytest.raises(OutOfResources, match="nearly all of its 400 files"):
        LOOPBACK.dial("localhost.invalid", 9, 10)
