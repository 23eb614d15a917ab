"""deploy/nginx/siem.conf in a real nginx, before two processes of `siem api`: what passes, what does not."""

import getpass
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests.fleet import Fleet, wait_until
from tests.interop.credentials import Credentials
from tests.interop.programs import Program, unpacked
from tests.ports import free_port
from tests.system.conftest import denial
from worker.broker import keys
from worker.settings import Settings

pytestmark = pytest.mark.slow

FILE = Path(__file__).parents[2] / "deploy" / "nginx" / "siem.conf"
NAME = "siem.example.com"
#: An address of this machine that the file does not list as one of the operators.
OUTSIDE = "127.0.0.2"
EVENTS = "/api/v1/events"
BODY_SECONDS = 2


@dataclass(frozen=True)
class Proxy:
    """A running nginx, and the fleet behind it."""

    fleet: Fleet
    directory: Path
    port: int
    plain_port: int
    trust: ssl.SSLContext
    key: str

    def client(self, source: str = OUTSIDE, **headers: str) -> httpx.Client:
        """Return a client that comes from this address and finds the name without a DNS."""
        transport = httpx.HTTPTransport(verify=self.trust, local_address=source)
        return httpx.Client(
            transport=transport,
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"Host": NAME, "Authorization": f"Bearer {self.key}", **headers},
            timeout=180,
        )

    def ask(self, method: str, path: str, source: str = OUTSIDE, **more: Any) -> httpx.Response:
        """Send one request on a connection of its own."""
        extensions = {"sni_hostname": NAME}
        with self.client(source) as http:
            return http.request(method, path, extensions=extensions, **more)

    def published(self) -> int:
        """Count the events in Redis: no router runs."""
        return int(self.fleet.client.xlen(keys.EVENTS))


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Give nginx with the file as it stands, but for ports, certificate and paths."""
    directory = tmp_path_factory.mktemp("nginx")
    credentials = Credentials(directory, trustme.CA(), NAME)
    ports = [free_port() for _ in range(5)]
    with Fleet(
        directory / "fleet", SIEM_API_TRUSTED_PROXIES="127.0.0.1", SIEM_API_BODY_SECONDS=str(BODY_SECONDS)
    ) as fleet:
        for name, port in zip(("api", "api-2"), ports[2:4], strict=True):
            fleet.environment["SIEM_API_PORT"] = str(port)
            fleet.spawn(name)
        logs = [partial(fleet.log, name) for name in ("api", "api-2")]
        wait_until(lambda: all("listening at" in log() for log in logs), "both listen")
        key = fleet.siem_json("api-keys", "create", "--name", "nginx", "--tenant", "default")["api_key"]
        command = _command(directory, credentials, ports)
        trust = ssl.create_default_context()
        credentials.ca.configure_trust(trust)
        with Program(command, directory, tcp=ports[:2]), _flower(ports[4]):
            yield Proxy(fleet, directory, ports[0], ports[1], trust, key)


def _command(directory: Path, credentials: Credentials, ports: list[int]) -> list[str | Path]:
    text = re.sub(r" *listen \[::\].*\n", "", FILE.read_text())
    for old, new in (
        ("listen 443", f"listen 127.0.0.1:{ports[0]}"),
        ("listen 80", f"listen 127.0.0.1:{ports[1]}"),
        ("127.0.0.1:8080", f"127.0.0.1:{ports[2]}"),
        ("127.0.0.1:8090", f"127.0.0.1:{ports[3]}"),
        ("127.0.0.1:5555", f"127.0.0.1:{ports[4]}"),
        ("/etc/nginx/tls/siem.crt", str(credentials.certificate)),
        ("/etc/nginx/tls/siem.key", str(credentials.key)),
        ("/var/log/nginx", str(directory)),
    ):
        assert old in text
        text = text.replace(old, new)
    (directory / "siem.conf").write_text(text)
    scratch = "".join(f"{kind}_temp_path {directory / kind};" for kind in _SCRATCH)
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    http = f"http {{ access_log off; {scratch} include siem.conf; }}"
    main = f"{user} daemon off; pid {directory / 'pid'}; events {{ }} {http}"
    (directory / "nginx.conf").write_text(main)
    return [unpacked("nginx"), "-c", directory / "nginx.conf", "-p", directory, "-e", directory / "errors"]


_SCRATCH = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class _Echo(BaseHTTPRequestHandler):
    """Stands where Flower would: answers with the path that it was asked for."""

    def do_GET(self) -> None:
        """Answer."""
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class _flower:  # noqa: N801 - a context manager, used like a function
    def __init__(self, port: int) -> None:
        self._server = HTTPServer(("127.0.0.1", port), _Echo)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_plain_http_is_led_to_https(proxy: Proxy) -> None:
    """To the name in the file, whatever the client's Host says."""
    url = f"http://127.0.0.1:{proxy.plain_port}/sign-in"
    answer = httpx.get(url, headers={"Host": "elsewhere.example.com"}, trust_env=False)

    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://{NAME}/sign-in"


def test_another_name_gets_no_certificate(proxy: Proxy) -> None:
    """Scanners that try names or addresses learn nothing."""
    with socket.create_connection(("127.0.0.1", proxy.port)) as plain, pytest.raises(ssl.SSLError):
        proxy.trust.wrap_socket(plain, server_hostname="elsewhere.example.com")


def test_people_sign_in_over_tls(proxy: Proxy) -> None:
    """The cookie is for https alone, and browsers are told never to come without."""
    answer = proxy.ask("POST", "/sign-in", data={"key": proxy.key})

    assert answer.status_code == 303
    assert "secure" in answer.headers["set-cookie"].lower()
    assert answer.headers["strict-transport-security"] == "max-age=63072000"


def test_bodies_up_to_the_limit_of_the_api_pass(proxy: Proxy) -> None:
    """Nginx bounds them by the same number, which is the default of SIEM_API_BODY_BYTES."""
    largest = Settings.model_fields["api_body_bytes"].default
    lines = [json.dumps(denial(f"large-{n}", reason="x" * 1500)).encode() + b"\n" for n in range(9_000)]
    body = b"".join(lines).ljust(largest, b" ")
    before = proxy.published()
    headers = {"Content-Type": "application/x-ndjson"}
    fits = proxy.ask("POST", EVENTS, content=body, headers=headers)
    too_large = proxy.ask("POST", EVENTS, content=body + b" ", headers=headers)

    assert len(body) == largest == 16 << 20
    assert (fits.status_code, too_large.status_code) == (202, 413)
    assert proxy.published() - before == fits.json()["accepted"] > 8_000


def test_a_slow_body_is_bounded_by_the_api(proxy: Proxy) -> None:
    """It reaches the API as it comes: it is the API that ends it, with a problem document."""

    def body() -> Iterator[bytes]:
        yield b"{"
        wait_until(lambda: "408" in _log(proxy), "the API has given up")

    answer = proxy.ask("POST", EVENTS, content=body(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 408
    assert answer.headers["content-type"] == "application/problem+json"


def _log(proxy: Proxy) -> str:
    return (proxy.directory / "siem.log").read_text()


def test_a_client_does_not_choose_its_address(proxy: Proxy) -> None:
    """Wrong keys count for the address they come from, whatever X-Forwarded-For says; others are not hit."""
    wrong = {"Authorization": f"Bearer {proxy.key[:-1]}{'1' if proxy.key[-1] != '1' else '2'}"}
    source = "127.0.0.3"
    found = [
        proxy.ask(
            "GET",
            "/api/v1/event-types",
            source,
            headers={**wrong, "X-Forwarded-For": f"198.51.100.{n}", "Forwarded": f"for=198.51.100.{n}"},
        ).status_code
        for n in range(60)
    ]
    other = proxy.ask("GET", "/api/v1/event-types", headers=wrong).status_code

    assert found[0] == other == 401
    assert found[-1] == 429


def test_each_step_of_a_test_comes_as_it_ends(proxy: Proxy) -> None:
    """The destination answers only once the first step was read through nginx."""
    with socket.create_server(("127.0.0.1", 0)) as destination:
        was_read = threading.Event()
        answering = threading.Thread(target=_answer_once, args=(destination, was_read))
        answering.start()
        url = f"http://127.0.0.1:{destination.getsockname()[1]}/hook"
        document = {"type": "webhook", "url": url, "timeout_seconds": 30}
        made = proxy.ask("POST", "/api/v1/integrations/siem", json=document).json()
        path = f"/api/v1/integrations/siem/{made['id']}/test"
        with (
            proxy.client() as http,
            http.stream(
                "POST",
                path,
                headers={"Accept": "application/x-ndjson"},
                extensions={"sni_hostname": NAME},
            ) as answer,
        ):
            lines = answer.iter_lines()
            first = json.loads(next(lines))
            was_read.set()
            steps = [first, *map(json.loads, lines)]
        answering.join()

    assert len(steps) > 1
    assert [one for one in steps if one.get("status") == "failed"] == []


def _answer_once(listener: socket.socket, may: threading.Event) -> None:
    """Take requests, and answer them with 200 once the event is set, until one has carried a body."""
    done = False
    while not done:
        connection, _ = listener.accept()
        with connection:
            request = connection.recv(65536)
            may.wait(30)
            if request:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                done = request.startswith(b"POST")


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/readyz/process", "/flower/x"])
def test_what_operators_see_is_not_for_the_world(proxy: Proxy, path: str) -> None:
    """By the address that a client comes from; Flower gets its prefix."""
    inside, outside = proxy.ask("GET", path, "127.0.0.1"), proxy.ask("GET", path)

    assert outside.status_code == 403
    assert inside.status_code in {200, 503}
    assert path != "/flower/x" or inside.text == path


def test_the_log_holds_no_query_and_no_key(proxy: Proxy) -> None:
    """Nor cookies: one JSON object a request, with its path."""
    proxy.ask("GET", "/api/v1/deliveries?event_id=someones-secret", headers={"Cookie": "session=cookie-x"})
    wait_until(lambda: "/api/v1/deliveries" in _log(proxy), "it is logged")
    entries = [json.loads(line) for line in _log(proxy).splitlines()]

    assert {one["path"] for one in entries if "deliveries" in one["path"]} == {"/api/v1/deliveries"}
    assert [word for word in ("someones-secret", "cookie-x", proxy.key) if word in _log(proxy)] == []


def test_a_process_that_was_killed_is_left_out(proxy: Proxy) -> None:
    """The last test of the file: every request is answered, and no event is published twice."""
    proxy.fleet.kill("api-2")
    before = proxy.published()
    read = [proxy.ask("GET", "/api/v1/event-types").status_code for _ in range(8)]
    written = [proxy.ask("POST", EVENTS, json=denial(f"after-{n}")).status_code for n in range(8)]

    assert (set(read), set(written)) == ({200}, {202})
    assert proxy.published() - before == len(written)
