"""A real browser on pages with a whole fleet behind them: chromium, driven through its own driver."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser.driving import CHROMIUM, DRIVER, Browser, headless
from tests.fleet import Fleet
from tests.pages.conftest import Site, running

#: Where pictures of the pages are kept, for people to look at.
PICTURES = Path(__file__).parents[2] / ".artifacts" / "pages"


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give the pages of a fleet whose processes run; its backlogs are held for a second at the most.

    Each file has its own: a tenant's dead letters would otherwise be counted and replayed by the next file.
    """
    with (
        Fleet(tmp_path_factory.mktemp("staged"), SIEM_BREAKER_LONGEST_PROBE="1") as fleet,
        running(fleet.start()) as served,
    ):
        yield served
        while served.visitors:
            served.visitors.pop().http.close()


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Give a browser without a screen; skip where there is none."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and its driver are not here: apt-get install chromium chromium-driver")
    with headless(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def browser(driver: webdriver.Chrome, staged: Site) -> Iterator[Browser]:
    """Give the browser, signed in; whatever a page had to complain about in its console fails the test."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    driver.delete_all_cookies()
    browser = Browser(driver, staged.url, PICTURES)
    browser.sign_in(staged)
    yield browser
    complaints = browser.complaints()
    # A page left open would go on asking a fleet that has ended, and the next test would fail for it.
    driver.get("about:blank")
    assert complaints == []
