"""Makes the pictures of README.md from a real demo: its account on a terminal, and the page of integrations.

    tests/browser/pictures

writes `.github/pictures/demo.svg` and `.github/pictures/page.png`, before a release or after a change of what
they show. It needs chromium (`.ci/browser` brings it) and takes half a minute.
"""

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.browser.driving import Browser, headless

PICTURES = Path(__file__).parents[2] / ".github" / "pictures"
COLUMNS = 80
#: The last line that the demo prints before it waits for Ctrl-C.
_LAST = "dead-letters list"


def main() -> None:
    """Make both pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, _demo(Path(scratch)) as printed:
        (PICTURES / "demo.svg").write_text(picture_of(printed.partition("\nLook around")[0]))
        _photograph(printed, Path(scratch))


def picture_of(printed: str) -> str:
    """Return what was printed on a terminal as an SVG that asks no other server for a font."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(printed.strip("\r\n")))
    svg = console.export_svg(title="./deploy/up --demo", unique_id="demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


@contextmanager
def _demo(directory: Path) -> Iterator[str]:
    """Run the demo on a terminal of its own; give what it prints, while its stack runs."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {
        **os.environ,
        "SIEM_DATA_DIR": str(directory / "data"),
        "SIEM_API_PORT": "0",
        "TERM": "xterm",
    }
    command = [str(Path(sys.executable).with_name("siem")), "up", "--demo"]
    demo = subprocess.Popen(command, env=environment, stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    try:
        with os.fdopen(ours, encoding="utf-8", newline="") as lines:
            yield _until_last(lines)
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(120)


def _until_last(lines: io.TextIOWrapper) -> str:
    printed = ""
    while _LAST not in printed:
        printed += lines.readline()
    return printed.replace("\r\n", "\n")


def _photograph(printed: str, scratch: Path) -> None:
    """Sign in with the key that the demo prints, and keep a picture of the integrations."""
    site, key = re.search(r"http://[\d.:]+", printed), re.search(r"siem_[0-9a-f]+_[0-9a-f]+", printed)
    assert site is not None
    assert key is not None
    with headless(scratch / "profile") as driver:
        browser = Browser(driver, site[0], PICTURES)
        browser.theme("light")
        browser.go("/sign-in")
        browser.fill("key", key[0])
        browser.press("Sign in")
        browser.read("demo webhook")
        browser.photograph("page", width=1200)


if __name__ == "__main__":
    main()
