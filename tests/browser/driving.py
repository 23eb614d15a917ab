"""What a person does at a page: goes there, fills in, presses, reads."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests.fleet import wait_until
from tests.pages.conftest import OURS, Site
from worker.model.api_keys import Role

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
#: The console's advice is for sites with passwords; and answers that are problems are meant.
_NO_COMPLAINTS = ("[DOM]", "status of 404", "status of 422")


@contextmanager
def headless(profile: Path) -> Iterator[webdriver.Chrome]:
    """Give a browser without a screen, which keeps its profile in this folder."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@dataclass
class Browser:
    """A window on the pages of one site."""

    driver: webdriver.Chrome
    url: str
    pictures: Path

    def sign_in(self, site: Site) -> None:
        """Sign in as an admin."""
        self.go("/sign-in")
        self.fill("key", site.keys[OURS, Role.ADMIN])
        self.press("Sign in")
        self.read("New integration", within="main")

    def go(self, path: str) -> None:
        """Load a page."""
        self.driver.get(self.url + path)

    def fill(self, name: str, text: str) -> None:
        """Type into the field of this name."""
        field = self.one(f"main [name='{name}']")
        field.clear()
        field.send_keys(text)

    def choose(self, name: str, value: str) -> None:
        """Choose from the list of this name."""
        Select(self.one(f"main select[name='{name}']")).select_by_value(value)

    def tick(self, name: str, value: str) -> None:
        """Tick a box, or take the tick away."""
        self.one(f"main input[name='{name}'][value='{value}']").click()

    def press(self, words: str) -> None:
        """Press the button or follow the link that says so."""
        path = f"//main//*[self::button or self::a or self::summary][normalize-space()='{words}']"
        target = self.driver.find_element(By.XPATH, path)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
        target.click()

    def one(self, selector: str) -> WebElement:
        """Return the first element that is selected, as soon as there is one."""
        found: list[WebElement] = wait_until(
            lambda: self.driver.find_elements(By.CSS_SELECTOR, selector), f"{selector} is there"
        )
        return found[0]

    def text(self, within: str = "main") -> str:
        """Return what a person reads there."""
        found: tuple[str] = wait_until(lambda: self._text_now(within), f"{within} stays for long enough")
        return found[0]

    def _text_now(self, within: str) -> tuple[str] | None:
        element = self.one(within)
        try:
            return (element.text,)
        except WebDriverException as error:
            if _is_replaced(error):
                return None
            raise

    def read(self, words: str, within: str = "main") -> str:
        """Wait until that is to be read there, as pages renew themselves; return all that is."""
        wait_until(lambda: words in self.text(within), f"{words!r} is to be read; there is: {self.text()}")
        return self.text(within)

    def reload_until(self, words: str, within: str = "main") -> str:
        """Load the page again until that is to be read there."""

        def reported() -> bool:
            self.driver.refresh()
            return words in self.text(within)

        wait_until(reported, f"{words!r} is to be read")
        return self.text(within)

    def photograph(self, name: str, width: int = 1280) -> None:
        """Keep a picture of the whole page."""
        self.driver.set_window_size(width, 900)
        height = self.run("return document.documentElement.scrollHeight")
        self.driver.set_window_size(width, min(5000, height + 150))
        self.driver.save_screenshot(str(self.pictures / f"{name}.png"))
        self.driver.set_window_size(1280, 900)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page, as a test may and the page's own policy does not hinder."""
        return self.driver.execute_script(script, *arguments)

    def theme(self, name: str) -> None:
        """Prefer light or dark colours from now on."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def complaints(self) -> list[str]:
        """Return what the console has complained about since the last time."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # selenium leaves it untyped
        return [one["message"] for one in entries if not _is_meant(one["message"])]


def _is_replaced(error: WebDriverException) -> bool:
    """Whether htmx, or the next page, has just replaced the element; chromedriver has two errors for that."""
    return isinstance(error, StaleElementReferenceException) or "does not belong to the document" in str(
        error
    )


def _is_meant(message: str) -> bool:
    return any(words in message for words in _NO_COMPLAINTS)
