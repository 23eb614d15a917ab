"""Every page, in both themes and on a phone, under axe-core: nothing serious stands in anyone's way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browser.driving import Browser
from tests.pages.conftest import HOME, OURS, Site
from tests.receivers import webhook
from tests.receivers.webhook import WebhookReceiver
from tests.system.conftest import denial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

AXE = (Path(__file__).parent / "axe.min.js").read_text()
_RUN = "const done = arguments[arguments.length - 1]; axe.run().then(found => done(found.violations))"
_LABELS = """
return [...document.querySelectorAll(".chart span")].map(label => {
  const card = label.closest(".card").getBoundingClientRect(), box = label.getBoundingClientRect();
  const style = getComputedStyle(label);
  return {size: style.fontSize, shown: style.visibility === "visible",
          inside: box.left >= card.left && box.right <= card.right && label.scrollWidth <= label.offsetWidth};
})"""
#: Width of a phone's window, in CSS pixels.
PHONE = 390

PAGES = {
    "list": HOME,
    "new": HOME + "/new",
    "new-splunk": HOME + "/new/splunk_hec",
    "new-syslog": HOME + "/new/syslog_cef",
    "new-webhook": HOME + "/new/webhook",
    "one": HOME + "/int_axe",
    "edit": HOME + "/int_axe/edit",
    "delete": HOME + "/int_axe/delete",
    "switch-off": HOME + "/int_axe/disable",
    "letters": HOME + "/dead-letters",
    "audit": HOME + "/audit",
    "letter": HOME + "/dead-letters/{letter}",
    "event": HOME + "/events?id=axe-1",
    "problem": HOME + "/int_nobody",
}


@pytest.fixture(scope="module")
def letter(staged: Site) -> str:
    """Give an integration with deliveries and dead letters; return the id of one of these."""
    with WebhookReceiver(webhook.answers(400, b"no")) as hook:
        staged.fleet.integrate(hook.url, "axe", tenant_id=OURS, type="webhook")
        staged.fleet.publish([denial(f"axe-{n}", tenant_id=OURS) for n in range(3)])
        staged.fleet.settled(3, "int_axe")
    return staged.fleet.dead("int_axe")[0].id


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_serious_is_found(browser: Browser, letter: str, theme: str) -> None:
    """By the rules of WCAG 2 and those that axe calls best practices."""
    browser.theme(theme)
    found = {}
    for name, path in PAGES.items():
        browser.go(path.format(letter=letter))
        if details := browser.driver.find_elements("css selector", "main details"):
            browser.run("arguments[0].open = true", details[0])
        found[name] = _violations(browser)
        browser.photograph(f"{name}-{theme}")

    assert found == {name: [] for name in PAGES}


def test_a_phone_shows_it_whole(browser: Browser, letter: str) -> None:
    """Nothing has to be scrolled sideways."""
    too_wide = {}
    with _screen(browser, PHONE):
        for name, path in PAGES.items():
            browser.go(path.format(letter=letter))
            if (width := browser.run("return document.documentElement.scrollWidth")) > PHONE:
                too_wide[name] = width
            browser.driver.save_screenshot(str(browser.pictures / f"{name}-phone.png"))

    assert too_wide == {}


@pytest.mark.parametrize("width", [1280, PHONE])
def test_the_labels_of_a_chart_can_be_read_on_every_screen(browser: Browser, letter: str, width: int) -> None:
    """They neither shrink with the drawing nor stand outside of it, nor over each other."""
    with _screen(browser, width):
        browser.go(PAGES["one"].format(letter=letter))
        labels = browser.run(_LABELS)

    shown = [one for one in labels if one["shown"]]
    assert len(shown) >= 2 * (5 + 3)
    assert {one["size"] for one in shown} == {"12px"}
    assert all(one["inside"] for one in shown)


def test_a_keyboard_reaches_everything(browser: Browser, letter: str) -> None:
    """From the skip link on, in the order of the page, and never into a trap."""
    browser.go(PAGES["one"].format(letter=letter))
    reached: list[Any] = []
    for _ in range(60):
        browser.driver.switch_to.active_element.send_keys("\ue004")
        words = browser.run("return document.activeElement.textContent.trim()")
        if reached and words == reached[0]:
            break
        reached.append(words)

    assert reached[0] == "Skip to the content"
    assert {"Integrations", "Dead letters", "Sign out", "Pause", "Edit", "Test now", "Delete"} <= set(reached)


@contextmanager
def _screen(browser: Browser, width: int) -> Iterator[None]:
    """Show the pages on a screen of this width, as a phone does from its own width down."""
    device = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width <= PHONE}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    try:
        yield
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _violations(browser: Browser) -> list[str]:
    browser.run(AXE)
    found = browser.driver.execute_async_script(_RUN)
    return [
        f"{one['impact']} {one['id']}: {one['help']} {[node['target'] for node in one['nodes']][:4]}"
        for one in found
        if one["impact"] in {"serious", "critical", "moderate"}
    ]
