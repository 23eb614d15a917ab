"""An admin sets up a SIEM, sees that it works, reads why it does not, mends it, and gets everything back."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tests.browser.driving import Browser
from tests.fleet import wait_until
from tests.pages.conftest import HOME, OURS, Site
from tests.receivers import scripts, webhook
from tests.receivers.hec import HecReceiver
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.webhook import WebhookReceiver
from tests.system.conftest import denial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOKEN = "11111111-2222-3333-4444-5555555555f3"


class Receivers(NamedTuple):
    """One of each kind."""

    splunk: HecReceiver
    qradar: SyslogReceiver
    hook: WebhookReceiver


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    """Give receivers that take everything; Splunk wants its token."""
    with ExitStack() as stack:
        splunk = stack.enter_context(HecReceiver(scripts.demand_token(TOKEN)))
        qradar = stack.enter_context(SyslogReceiver())
        hook = stack.enter_context(WebhookReceiver())
        yield Receivers(splunk, qradar, hook)


def test_from_the_first_form_to_the_last_replay(browser: Browser, staged: Site, receivers: Receivers) -> None:
    """All three types, a good and a broken receiver, health, dead letters, replay: all by the pages."""
    _set_up_splunk(browser, receivers.splunk)
    _set_up_syslog(browser, receivers.qradar)
    _set_up_webhook(browser, receivers.hook)

    published = staged.fleet.publish(_events(120, "first"))
    receivers.splunk.wait_for_events(120, 30)
    receivers.qradar.wait_for(120, 30)
    _sees_them_delivered(browser, "120")

    # Wrong answers: the events are refused, one by one.
    receivers.hook.script = webhook.answers(400, b"unknown field behavioral_hash")
    refused = staged.fleet.publish(_events(12, "refused"))
    _reads_why(browser, refused[0])

    receivers.hook.script = webhook.takes()
    _replays_them(browser)
    wait_until(lambda: set(refused) <= set(receivers.hook.accepted_ids), "all were replayed")
    assert set(published) | set(refused) <= set(receivers.hook.accepted_ids)

    # No answers: what is published waits, and the page says for what.
    receivers.splunk.script = scripts.reject_token()
    staged.fleet.publish(_events(5, "held"))
    _sees_what_holds_it(browser)
    receivers.splunk.script = scripts.demand_token(TOKEN)
    _tries_it_at_once(browser, receivers.splunk)


def _set_up_splunk(browser: Browser, splunk: HecReceiver) -> None:
    browser.go(HOME)
    browser.press("New integration")
    browser.go(HOME + "/new/splunk_hec")
    browser.fill("name", "splunk")
    browser.fill("url", splunk.url)
    browser.fill("token", "wrong")
    browser.press("Test connection")
    reported = browser.read("failed", "#steps")
    browser.photograph("new-splunk-broken")
    assert "token" in reported

    browser.fill("token", TOKEN)
    browser.press("Test connection")
    wait_until(
        lambda: "failed" not in browser.text("#steps") and "event" in browser.text("#steps"), "it is well"
    )
    browser.press("Preview the bytes")
    assert '"sourcetype":"mitrity:governance"' in browser.read("sourcetype", "#bytes pre")
    # Head and body of the request stand in one box.
    assert browser.run("return document.getElementById('bytes').childNodes.length") == 1
    assert "Authorization: Splunk" in browser.text("#bytes pre")
    browser.press("Create")
    browser.read("splunk", "h1")
    assert TOKEN not in browser.driver.page_source


def _set_up_syslog(browser: Browser, qradar: SyslogReceiver) -> None:
    browser.go(HOME + "/new")
    browser.one("a[href$='/new/syslog_cef']").click()
    browser.fill("name", "qradar")
    browser.fill("url", "syslog://127.0.0.1:1")
    browser.press("Test connection")
    assert "refused" in browser.read("refused", "#steps")
    browser.fill("url", qradar.url)
    browser.choose("facility", "local4")
    browser.press("Preview the bytes")
    assert "CEF:0|MITRITY|MITRITY Platform|" in browser.read("CEF:0", "#bytes")
    browser.press("Create")
    browser.read("qradar", "h1")


def _set_up_webhook(browser: Browser, hook: WebhookReceiver) -> None:
    browser.go(HOME + "/new/webhook")
    browser.fill("name", "hook")
    browser.press("Create")
    # The browser itself asks for the address; the server does so as well.
    assert browser.run("return document.querySelector('[name=url]').matches(':invalid')")
    browser.fill("url", "ftp://nowhere")
    browser.press("Create")
    assert "url" in browser.read("Nothing was saved", "#complaint")
    browser.photograph("new-webhook-refused")
    browser.fill("url", hook.url)
    browser.choose("auth.kind", "bearer")
    browser.fill("auth.token", "a-token-of-the-endpoint")
    browser.press("Create")
    browser.read("hook", "h1")


def _sees_them_delivered(browser: Browser, count: str) -> None:
    for name in ("splunk", "qradar", "hook"):
        browser.go(HOME)
        browser.press(name)
        browser.reload_until(count, ".figures")
    browser.photograph("one-healthy")
    browser.go(HOME)
    browser.read("healthy")
    browser.photograph("list-healthy")


def _reads_why(browser: Browser, event_id: str) -> None:
    browser.go(HOME)
    browser.press("hook")
    browser.reload_until("HTTP 400")
    assert "9 % of the events" in browser.reload_until("degraded", "#live")
    browser.photograph("one-failing")
    browser.go(f"{HOME}/events?id={event_id}")
    found = browser.text()
    assert "dead" in found
    assert "delivered" in found
    browser.photograph("event")


def _replays_them(browser: Browser) -> None:
    browser.go(HOME + "/dead-letters?cause=refused")
    browser.photograph("dead-letters")
    browser.press("Count first")
    assert "12 dead letters would be sent again" in browser.read("would be sent again", "#counted")
    browser.photograph("dead-letters-counted")
    browser.press("Replay 12")
    browser.read("Done", "#live")
    assert "12 of 12 sent" in browser.text("#live")
    browser.photograph("replay")
    browser.go(HOME + "/dead-letters?cause=refused")
    browser.read("No dead letter matches")


def _sees_what_holds_it(browser: Browser) -> None:
    browser.go(HOME)
    browser.press("splunk")
    browser.reload_until("circuit breaker open", "#live")
    reported = browser.text("#live")
    assert "failing" in reported
    assert "token" in reported
    browser.photograph("one-held")


def _tries_it_at_once(browser: Browser, splunk: HecReceiver) -> None:
    if "Try now" in browser.text():
        browser.press("Try now")
    splunk.wait_for_events(137, 30)
    browser.reload_until("healthy", "#live")


def _events(count: int, run: str) -> list[dict[str, object]]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return [denial(f"{run}-{n}", tenant_id=OURS, timestamp=now) for n in range(count)]
