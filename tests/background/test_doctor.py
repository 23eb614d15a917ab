"""The examination itself: in which order it asks, what it leaves out, and what it never does."""

import itertools
from typing import Any

import pytest

from tests.destinations.checks.examinations import HOST, LOOPBACK, examined, integration_to, results
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.transports.endpoint import Endpoint, answers
from tests.transports.few_descriptors import few_descriptors
from worker.background.doctor import StepStatus, examine

WAY = ["configuration", "name", "address", "connection", "tls", "mutual tls"]
STEPS = {
    "splunk_hec": [*WAY, "health", "token", "test event", "acknowledgement", "clock"],
    "syslog_cef": [*WAY, "test event"],
    "webhook": [*WAY, "test event", "clock"],
}
UNREACHABLE = {
    "splunk_hec": {"url": "https://no-such-host.invalid", "token": "t"},
    "syslog_cef": {"url": "syslog+tls://no-such-host.invalid"},
    "webhook": {"url": "https://no-such-host.invalid/hook"},
}


def _splunk(url: str, **options: Any) -> dict[str, Any]:
    return {"type": "splunk_hec", "url": url, "token": "t", "timeout_seconds": 2.0} | options


@pytest.mark.parametrize("kind", STEPS)
def test_every_step_is_reported_even_if_it_is_not_asked(kind: str) -> None:
    """A result always has the same steps, and the first failure is named in the rest."""
    checks = examined({"type": kind} | UNREACHABLE[kind])
    rest = [check for check in checks.values() if check.result is StepStatus.SKIPPED]

    assert list(checks) == STEPS[kind]
    assert list(results(checks).values())[:2] == ["ok", "failed"]
    assert [check.step for check in rest] == STEPS[kind][2:]
    assert {check.message for check in rest} == {"not asked, because name failed"}
    assert {(check.hint, check.milliseconds) for check in rest} == {(None, 0.0)}


def test_each_check_comes_as_soon_as_its_step_has_ended() -> None:
    """A person sees what happens while it happens: nothing is dialled before it is asked for."""
    with Endpoint(answers()) as endpoint:
        checks = examine(integration_to(_splunk(endpoint.url())), LOOPBACK, send_seconds=5)
        before = [check.step for check in itertools.islice(checks, 3)]
        dialled_before = endpoint.accepted
        connection = next(checks)
        checks.close()  # type: ignore[attr-defined]  # it is a generator, as callers need not know

        assert before == ["configuration", "name", "address"]
        assert dialled_before == 0
        assert (connection.step, connection.result) == ("connection", StepStatus.OK)
        assert endpoint.left.wait(10), "a check that stops half-way leaves no connection open"


def test_a_step_that_waits_tells_how_long() -> None:
    """What is slow is part of what one wants to know."""
    with HecReceiver(scripts.hang()) as splunk:
        checks = examined(_splunk(splunk.url, timeout_seconds=0.2))

    assert checks["health"].result is StepStatus.FAILED
    assert checks["health"].milliseconds >= 200
    assert checks["configuration"].milliseconds < checks["health"].milliseconds


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        (_splunk("https://127.0.0.1:1", ca_pem="no PEM"), "ca_pem: is not a certificate in PEM"),
        ({"type": "syslog_cef", "url": "syslog+tls://127.0.0.1", "ca_pem": "no PEM"}, "ca_pem: is not"),
        ({"type": "webhook", "url": "https://127.0.0.1/", "ca_pem": "no PEM"}, "ca_pem: is not"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_dialled(
    destination: dict[str, Any], message: str
) -> None:
    """The integration's own fault is shown as such, with the field."""
    checks = examined(destination)

    assert checks["configuration"].result is StepStatus.FAILED
    assert checks["configuration"].message.startswith(message)
    assert checks["configuration"].hint == "give one or more blocks of -----BEGIN CERTIFICATE-----"
    assert set(results(checks).values()) == {"failed", "skipped"}


def test_an_integration_that_is_disabled_is_examined_all_the_same() -> None:
    """One wants to know whether it would work before switching it on; that it is off is said."""
    with HecReceiver() as splunk:
        checks = examined(_splunk(splunk.url), enabled=False)

    assert checks["configuration"].result is StepStatus.WARNING
    assert "disabled" in checks["configuration"].message
    assert checks["test event"].result is StepStatus.OK


def test_every_failure_and_warning_has_its_remedy() -> None:
    """A sentence that helps goes with whatever is amiss, and with nothing else."""
    with HecReceiver(scripts.html()) as portal:
        checks = examined(_splunk(portal.url))
    amiss = {StepStatus.FAILED, StepStatus.WARNING}

    assert {check.result in amiss for check in checks.values() if check.hint} == {True}
    assert [check.step for check in checks.values() if check.result in amiss and not check.hint] == []


def test_the_url_is_named_without_its_path() -> None:
    """The path of a webhook may be all its secret."""
    config = {"type": "webhook", "url": f"https://{HOST}:1/hooks/secret-path?key=secret"}
    checks = examined(config)

    assert checks["configuration"].message.startswith(f"webhook, https://{HOST}:1, ")
    assert "secret" not in repr(checks)


@pytest.mark.parametrize("kind", ["splunk_hec", "syslog_cef", "webhook"])
def test_what_this_process_lacks_is_not_said_of_the_destination(kind: str) -> None:
    """It is no verdict: the words name the process that asks, and whose limit is to be raised."""
    with Endpoint(answers()) as endpoint:
        url = f"syslog://{HOST}:{endpoint.port}" if kind == "syslog_cef" else endpoint.url()
        with few_descriptors(0):
            checks = examined({"type": kind, **UNREACHABLE[kind], "url": url, "timeout_seconds": 2.0})

    step = checks["connection"]
    assert step.result is StepStatus.FAILED
    assert step.message.startswith("this very process could not ask, which says nothing of the destination: ")
    assert "Too many open files" in step.message
    assert "of this process" in (step.hint or "")
