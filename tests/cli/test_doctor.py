"""`siem doctor`: what is wrong with each of many broken SIEMs, and nothing where nothing is wrong."""

import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.cli.broken_destinations import BROKEN, CA, HOST, SECRETS, Broken
from tests.cli.conftest import HOSTILE
from tests.cli.running import Ran, call, run
from tests.fleet import Fleet
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.transports.certificates import server_context
from worker.broker.certificates import certificate_ends
from worker.demo.splunk import Reply
from worker.integrations.integration import parse_integration

pytestmark = pytest.mark.slow

#: Short, so that what stays silent is soon given up; integrations have longer ones of their own.
TIMEOUT = "2"

STEPS_OF_SPLUNK = [
    *("configuration", "name", "address", "connection", "tls", "mutual tls"),
    *("health", "token", "test event", "acknowledgement", "clock"),
]


@pytest.fixture(scope="module")
def examined(desk: Fleet) -> Iterator[dict[str, Ran]]:
    """Examine each broken SIEM once, by the program itself."""
    ran: dict[str, Ran] = {}
    with contextlib.ExitStack() as stack:
        for broken in BROKEN:
            with broken.opened() as destination:
                stack.enter_context(_integrated(desk, broken.name, destination))
                ran[broken.name] = call(
                    desk.environment, "doctor", broken.name, "--json", "--timeout", TIMEOUT
                )
        yield ran


def test_each_broken_siem_has_its_own_cause(examined: dict[str, Ran]) -> None:
    """The step that finds it out fails; it names the cause, and the setting to correct."""
    for broken in BROKEN:
        ran = examined[broken.name]
        result = "warning" if broken.warns else "failed"
        found = [step for step in _steps(ran) if step["result"] == result]
        [named] = [step for step in found if step["step"] == broken.step] or pytest.fail(f"{broken}: {found}")

        assert ran.code == (0 if broken.warns else 1), broken.name
        assert broken.warns or found == [named], broken.name
        assert broken.cause in named["message"], broken.name
        assert broken.hint in named["hint"], broken.name


def test_all_causes_differ(examined: dict[str, Ran]) -> None:
    """Cause and remedy tell each fault from all others of the same kind of SIEM."""
    causes = {broken.name: _told(broken, examined[broken.name]) for broken in BROKEN}
    shared = {name: cause for name, cause in causes.items() if list(causes.values()).count(cause) > 1}

    assert len(causes) >= 8
    assert shared == {}


def test_no_secret_is_shown(examined: dict[str, Ran]) -> None:
    """Neither token, nor key, nor the path of a webhook, which may be a secret by itself."""
    shown = "".join(ran.out + ran.err for ran in examined.values())

    assert [secret for secret in SECRETS if secret in shown] == []


def test_what_rests_on_a_failure_is_skipped(examined: dict[str, Ran]) -> None:
    """The first failure is the cause, and what cannot be asked for it is not made out to be broken."""
    steps = {step["step"]: step for step in _steps(examined["wrong-token"])}

    assert list(steps) == STEPS_OF_SPLUNK
    assert steps["test event"]["result"] == "skipped"
    assert steps["test event"]["message"] == "not asked, because token failed"
    assert steps["test event"]["milliseconds"] == 0


def test_a_healthy_siem_for_people(desk: Fleet) -> None:
    """A line for each step, with a mark and its time; the event is marked; the exit code is 0."""
    with _splunk(desk, "well") as splunk:
        ran = call(desk.environment, "doctor", "well")
    [event] = splunk.events
    *lines, summary = ran.out.splitlines()

    assert ran.code == 0, ran.out
    assert [line[8:24].strip() for line in lines] == STEPS_OF_SPLUNK
    assert {line[:8].strip() for line in lines} == {"ok"}
    assert all(re.search(r" \d+ ms ", line) for line in lines)
    assert summary == "well: no step failed."
    assert (event["type"], event["test"]) == ("integration.test", True)
    assert event["id"] in ran.out


def test_the_end_of_a_certificate_is_noted(desk: Fleet) -> None:
    """As a delivery does: the metric shows the new one of an integration without events."""
    with _splunk(desk, "renewed"):
        call(desk.environment, "doctor", "renewed", "--no-test-event")
        noted = certificate_ends(desk.client)

    assert noted["int_renewed"] > time.time()


def test_a_broken_siem_for_people(desk: Fleet) -> None:
    """The remedy stands on a line of its own, and the last line names what failed."""
    with _splunk(desk, "ill", scripts.reject_token()):
        ran = run(desk.environment, "doctor", "ill")
    lines = ran.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("FAILED"))

    assert ran.code == 1
    assert lines[at].startswith("FAILED  token ")
    assert "HTTP 403: Invalid token (code 4)" in lines[at]
    assert lines[at + 1].strip().startswith("Hint: correct the integration's `token`")
    assert lines[-1].startswith("ill: 1 step failed (token)")
    assert ran.err == ""


def test_what_is_printed_fits_into_a_terminal(desk: Fleet) -> None:
    """Long messages, and what to do, go on below where they began."""
    with _splunk(desk, "narrow", scripts.reject_token()):
        ran = call(desk.environment, "doctor", "narrow", columns=80)
    lines = ran.out.splitlines()
    at = next(number for number, line in enumerate(lines) if "Hint: " in line)

    assert max(map(len, lines)) <= 80
    assert lines[at].index("Hint: ") == 34
    assert lines[at + 1].startswith(" " * 34)


def test_no_event_is_sent_unless_wanted(desk: Fleet) -> None:
    """All that can be found out without one is."""
    with _splunk(desk, "careful") as splunk:
        ran = call(desk.environment, "doctor", "careful", "--no-test-event", "--json")
    results = {step["step"]: step["result"] for step in _steps(ran)}

    assert splunk.events == []
    assert ran.code == 0
    assert (results["token"], results["test event"]) == ("ok", "skipped")


def test_the_networks_of_this_environment_count(desk: Fleet) -> None:
    """What the guard refuses to a delivery it refuses here, and the help says whose setting it is."""
    with _splunk(desk, "guarded") as splunk:
        ran = call(desk.environment | {"SIEM_ALLOWED_NETWORKS": ""}, "doctor", "guarded")
    help_text = call(desk.environment, "doctor", "--help").out

    assert ran.code == 1
    assert "127.0.0.1 is a loopback address" in ran.out
    assert "no worker that delivers to splunk_hec runs" in ran.out
    assert splunk.requests == []
    assert "SIEM_ALLOWED_NETWORKS" in help_text


def test_nothing_is_recorded_and_nothing_disabled(examined: dict[str, Ran], desk: Fleet) -> None:
    """An endpoint that is gone for good is reported, and the integration is left as it was."""
    integration = desk.store.get(desk.store.resolve("webhook-410"))

    assert "gone for good" in examined["webhook-410"].out
    assert integration.enabled
    assert desk.rows(integration.id) == []
    assert desk.client.exists(f"siem:outcomes:{integration.id}") == 0


def test_a_siem_cannot_reach_the_terminal(desk: Fleet) -> None:
    """Whatever it answers, only printable characters go out, for people and for scripts."""
    hostile = scripts.Action(403, json.dumps({"text": HOSTILE, "code": 4}).encode())
    with _splunk(desk, "hostile", lambda _request: hostile):
        ran = call(desk.environment, "doctor", "hostile")
        document = call(desk.environment, "doctor", "hostile", "--json")

    assert r"\x1b[31m[bold]owned" in ran.out
    assert all(char.isprintable() for char in (ran.out + document.out).replace("\n", ""))


def test_an_unknown_integration_is_not_examined(desk: Fleet) -> None:
    """Exit code 4, as everywhere."""
    ran = call(desk.environment, "doctor", "nobody")

    assert ran.code == 4
    assert "no integration nobody" in ran.complaint


@contextlib.contextmanager
def _integrated(desk: Fleet, name: str, destination: dict[str, Any]) -> Iterator[None]:
    integration = parse_integration({"id": f"int_{name}", "name": name, "destination": destination})
    desk.store.create(integration)
    try:
        yield
    finally:
        desk.store.delete(integration.id)


@contextlib.contextmanager
def _splunk(desk: Fleet, name: str, refusal: scripts.Script | None = None) -> Iterator[HecReceiver]:
    """Give a Splunk as it should be, but for a script that answers whatever is posted."""

    def script(request: scripts.Request) -> scripts.Action:
        if request.path.startswith("/services/collector/ack"):
            return scripts.answer(Reply(14))
        action = (scripts.ok() if refusal is None or request.method == "GET" else refusal)(request)
        return replace(action, headers={"Date": scripts.http_date(0)})

    with HecReceiver(script, tls=server_context(CA.issue_cert(HOST))) as receiver:
        pem = CA.cert_pem.bytes().decode()
        destination = {"type": "splunk_hec", "url": receiver.url, "token": SECRETS[0], "ca_pem": pem}
        with _integrated(desk, name, destination):
            yield receiver


def _steps(ran: Ran) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = json.loads(ran.out)["steps"]
    return steps


def _told(broken: Broken, ran: Ran) -> tuple[str, ...]:
    """Return kind, cause and remedy, without ports and ids, which differ anyhow."""
    report = json.loads(ran.out)
    [step] = [step for step in report["steps"] if step["step"] == broken.step]
    return (report["type"], *(re.sub(r":\d+|test_\w+", "", step[part]) for part in ("message", "hint")))
