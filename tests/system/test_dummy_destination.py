"""A fourth type of destination, added by one file: every door makes, tries and watches it as any other."""

import json
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fleet import Fleet, wait_until
from tests.pages.conftest import HOME, Visitor
from tests.pages.reading import Page
from tests.procfile import commands
from tests.system.conftest import denial
from worker.ledger.api_keys import ApiKeyStore
from worker.model.api_keys import Role

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOP = Path(__file__).parents[2]
#: Runs a program behind the import of the file that adds the type.
_BEHIND_DUMMY = (
    "import runpy, sys, tests.destinations.dummy_destination; "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
ROLES = ("router", "recorder", "worker-lines", "api")
BASE = "/api/v1/integrations/siem"


class Receiver(socketserver.ThreadingTCPServer):
    """Takes batches of lines, and refuses those behind the passwords in `refused`."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on loopback."""
        super().__init__(("127.0.0.1", 0), _Taking)
        self.refused: set[str] = set()
        #: The ids of the events that it has taken, by password.
        self.taken: dict[str, list[str]] = {}
        self.url = f"lines://127.0.0.1:{self.server_address[1]}"


class _Taking(socketserver.StreamRequestHandler):
    server: Receiver

    def handle(self) -> None:
        password = self.rfile.readline().decode().strip()
        events = [json.loads(line) for line in iter(self.rfile.readline, b"\n") if line]
        if not events:
            return  # the doctor's look whether somebody listens
        if password in self.server.refused and not events[0]["type"].startswith("integration"):
            self.wfile.write(b"no, thank you\n")
            return
        self.server.taken.setdefault(password, []).extend(event["id"] for event in events)
        self.wfile.write(b"yes\n")


class DummyFleet(Fleet):
    """A fleet whose every process knows the type, and that has a worker for it."""

    def _command(self, role: str) -> list[str]:
        lines = {**commands(), "worker-lines": _worker_of_lines()}
        return [sys.executable, "-c", _BEHIND_DUMMY, *lines[role]]

    def siem(self, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Run the program `siem`."""
        command = [sys.executable, "-c", _BEHIND_DUMMY, commands()["router"][0], *arguments]
        return subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, timeout=180, check=False
        )


def _worker_of_lines() -> list[str]:
    found = commands()["worker-webhook"]
    return ["lines" if word == "webhook" else word for word in found]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Give a receiver that answers."""
    with Receiver() as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def dummies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DummyFleet]:
    """Give a running fleet that knows the dummy; this process does not."""
    with DummyFleet(tmp_path_factory.mktemp("dummies"), PYTHONPATH=str(TOP)) as fleet:
        fleet.start(*ROLES)
        yield fleet


@pytest.fixture(scope="module")
def url(dummies: DummyFleet) -> str:
    """Give the address of the API and the pages."""
    found = wait_until(lambda: re.search(r"listening at (\S+)", dummies.log("api")), "the API listens")
    return str(found[1])


def test_the_command_line_knows_it(dummies: DummyFleet, receiver: Receiver, tmp_path: Path) -> None:
    """Its options are made of its fields; preview, doctor, delivery, dead letters and replay work."""
    secret, sample = tmp_path / "password", tmp_path / "events"
    secret.write_text("by-cli")
    sample.write_text(json.dumps(denial("cli-0", tenant_id="cli")))
    options = ["--type", "lines", "--url", receiver.url, "--password-file", str(secret), "--ending", "blank"]
    help_text = dummies.siem("integrations", "create", "--help").stdout.decode()
    dummies.siem_json("integrations", "create", "--name", "by-cli", "--tenant", "cli", *options)
    made = dummies.siem_json("integrations", "show", "by-cli")
    preview = dummies.siem("preview", "by-cli", str(sample))
    doctor = dummies.siem_json("doctor", "by-cli")

    assert "Lines (--type lines):" in help_text
    assert (made["type"], made["ending"]) == ("lines", "blank")
    assert b"***\n" in preview.stdout
    assert b"cli-0" in preview.stdout
    assert {step["step"]: step["result"] for step in doctor["steps"]}["test event"] == "ok"

    letter = _refuse_once(dummies, receiver, "cli", made["id"])
    assert dummies.siem_json("dead-letters", "show", letter)["error_code"] == "event_refused"
    dummies.siem_json("dead-letters", "replay", "--integration", "by-cli", "--wait", "--yes")
    assert "cli-2" in receiver.taken["by-cli"]


def test_the_api_knows_it(dummies: DummyFleet, receiver: Receiver, url: str) -> None:
    """Schema and example stand in its description; it shows no password, tests, delivers and replays."""
    key = ApiKeyStore(dummies.engine).create("api", Role.ADMIN, "a test").text
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=90
    ) as http:
        described = http.get("/openapi.json").json()
        given = {"type": "lines", "name": "by-api", "url": receiver.url, "password": "by-api"}
        made = http.post(BASE, json=given).json()
        unknown = http.post(BASE, json=given | {"ending": "dash"}).json()
        tested = http.post(f"{BASE}/{made['id']}/test").json()

        assert {"LinesCreation", "LinesChange", "LinesIntegration"} <= described["components"][
            "schemas"
        ].keys()
        [body] = described["paths"][BASE]["post"]["requestBody"]["content"].values()
        assert body["examples"]["lines"]["value"]["type"] == "lines"
        assert made["ending"] == "newline"
        assert made["password"]["set"] is True
        assert unknown["field"] == "ending"
        assert {step["step"]: step["result"] for step in tested["steps"]}["test event"] == "ok"

        letter = _refuse_once(dummies, receiver, "api", made["id"])
        shown = http.get(f"{BASE}/{made['id']}/dead-letters").json()["items"]
        assert [one["id"] for one in shown] == [letter]
        assert http.post(f"{BASE}/{made['id']}/replays", json={"causes": ["refused"]}).status_code == 201
    wait_until(lambda: "api-2" in receiver.taken["by-api"], "the replay delivers")


def test_the_pages_know_it(dummies: DummyFleet, receiver: Receiver, url: str) -> None:
    """A card leads to its form, whose fields are its own; preview, test, dead letters and replay work."""
    visitor = Visitor(url)
    key = ApiKeyStore(dummies.engine).create("page", Role.ADMIN, "a test").text
    assert visitor.http.post("/sign-in", data={"key": key}).status_code == 303
    form = visitor.get(f"{HOME}/new/lines")
    filled = form.filled | {"name": ["by-page"], "url": [receiver.url], "password": ["by-page"]}
    preview = visitor.http.post(f"{HOME}/new/lines/preview", data=filled)
    tested = visitor.http.post(f"{HOME}/new/lines/test", data=filled)
    made = visitor.http.post(f"{HOME}/new/lines", data=filled).headers["location"].rpartition("/")[2]

    assert visitor.get(f"{HOME}/new").all("a", href=f"{HOME}/new/lines")
    assert "New Lines integration" in form.text
    assert form.all("input", name="password", type="password")
    assert "***" in preview.text
    assert "accepted, under the id test_" in tested.text
    assert "Lines" in visitor.get(HOME).words

    letter = _refuse_once(dummies, receiver, "page", made)
    assert "event_refused" in visitor.get(f"{HOME}/dead-letters/{letter}").text
    counted = Page(visitor.post(f"{HOME}/dead-letters/count", status=200, integration=made).text)
    assert visitor.http.post(f"{HOME}/replays", data=counted.filled).status_code == 303
    wait_until(lambda: "page-2" in receiver.taken["by-page"], "the replay delivers")
    visitor.http.close()


def _refuse_once(fleet: DummyFleet, receiver: Receiver, door: str, integration: str) -> str:
    """Have one event of the tenant delivered and the next one refused; return the id of the dead letter."""
    fleet.publish([denial(f"{door}-1", tenant_id=door)])
    wait_until(lambda: f"{door}-1" in receiver.taken.get(f"by-{door}", []), "it is delivered")
    receiver.refused.add(f"by-{door}")
    fleet.publish([denial(f"{door}-2", tenant_id=door)])
    [letter] = wait_until(lambda: fleet.dead(integration), "it is refused")
    receiver.refused.clear()
    statuses: dict[str, Any] = {row.event_id: row.status for row in fleet.settled(2, integration)}
    assert statuses == {f"{door}-1": "delivered", f"{door}-2": "dead"}
    return str(letter.id)
