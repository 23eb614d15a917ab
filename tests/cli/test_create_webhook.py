"""`siem integrations create` for webhooks: secrets come from files or are typed unseen, and stay unseen."""

import json
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from tests.cli.running import Ran, call, create, destination_of, in_terminal, run
from tests.fleet import Fleet
from worker.integrations.secrets import SecretUrl
from worker.integrations.webhook import ApiKeyAuth, BearerAuth, NoAuth, Webhook, signing_key

URL = "https://endpoint.example.com/webhook"
SECRET = "hook-secret-value"
CREATE = ("integrations", "create", "--name", "siem", "--url", URL, "--type", "webhook")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a secret, headers, and two signing secrets, as files."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "headers").write_text(f"\ufeffX-Env: prod\r\n\r\n X-Key :  {SECRET}:x \n")
    for name in ("new", "old"):
        (tmp_path / name).write_text(call({}, "integrations", "new-secret").out)
    return tmp_path


def test_an_address_is_enough(empty: Fleet) -> None:
    """Without authentication nothing is asked for; what is left out is what the model says."""
    created = _create(empty)

    assert (created.code, created.err) == (0, "")
    assert _stored(empty) == Webhook(url=SecretUrl(URL), headers={})


def test_every_option_has_its_effect(empty: Fleet, folder: Path) -> None:
    """What was asked for is what stands in the ledger; of secrets, nobody is shown more than that."""
    trustme.CA().cert_pem.write_to_path(folder / "ca")
    options = (
        f"--auth api-key --api-key-file {folder / 'secret'} --api-key-header X-Token "
        f"--header-file {folder / 'headers'} --add-header X-Team:red "
        f"--signing-secret-file {folder / 'new'} --signing-secret-file {folder / 'old'} "
        "--body lines --connections 3 --batch-events 9 --batch-bytes 9000 --timeout 7.5 --max-retries 0 "
        f"--ca-file {folder / 'ca'} --tls-server-name splunk.example.com"
    )
    created = _create(empty, *options.split(), "--json")
    shown = [created.out, *(call(empty.environment, "integrations", *words).out for words in _LOOKS)]
    stored = _stored(empty)

    assert created.json["max_retries"] == 0
    assert destination_of(created.json) == {
        "type": "webhook",
        "url": URL,
        "auth": {"kind": "api_key", "header": "X-Token", "value": "set"},
        "headers": {"X-Team": "set", "X-Env": "set", "X-Key": "set"},
        "signing_secrets": ["set", "set"],
        "body": "lines",
        "connections": 3,
        "batch_events": 9,
        "batch_bytes": 9000,
        "timeout_seconds": 7.5,
        "verify_tls": True,
        "ca_pem": (folder / "ca").read_text().strip(),
        "client_cert_pem": None,
        "client_key_pem": None,
        "tls_server_name": "splunk.example.com",
    }
    assert stored.auth == ApiKeyAuth(header="X-Token", value=SecretStr(SECRET))
    assert _plain(stored.headers) == {"X-Team": "red", "X-Env": "prod", "X-Key": f"{SECRET}:x"}
    assert [secret.get_secret_value() for secret in stored.signing_secrets] == [
        (folder / name).read_text().strip() for name in ("new", "old")
    ]
    assert [text for text in shown if SECRET in text or "whsec_" in text] == []
    in_redis = str(empty.client.hgetall("siem:integrations"))
    assert (SECRET in in_redis, "whsec_" in in_redis) == (False, False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_files_in_pem_may_hold_more_than_their_blocks(empty: Fleet, tmp_path: Path, encoding: str) -> None:
    """Comments do not matter, and of a file with certificate and key each option takes its own."""
    ca = trustme.CA()
    own = ca.issue_cert("worker")
    blocks = [one.bytes().decode() for one in (ca.cert_pem, own.cert_chain_pems[0], own.private_key_pem)]
    for name, text in (("ca", blocks[0]), ("own", blocks[2] + blocks[1])):
        (tmp_path / name).write_bytes(f"# Größe\r\n{text}# ± Ende\r\n".encode(encoding))
    files = {"--ca-file": "ca", "--client-cert-file": "own", "--client-key-file": "own"}
    created = _create(empty, *(word for flag, name in files.items() for word in (flag, str(tmp_path / name))))
    stored = _stored(empty)
    key = stored.client_key_pem

    assert (created.code, created.err) == (0, "")
    assert [stored.ca_pem, stored.client_cert_pem, key and key.get_secret_value()] == [
        block.strip() for block in blocks
    ]


_LOOKS = (("list",), ("list", "--json"), ("show", "siem"), ("show", "siem", "--json"))


@pytest.mark.parametrize(
    ("options", "auth"),
    [
        ("--auth none", NoAuth()),
        ("--token-file FILE", BearerAuth(token=SecretStr(SECRET))),
        ("--auth bearer --token-file FILE", BearerAuth(token=SecretStr(SECRET))),
        (f"--token {SECRET}", BearerAuth(token=SecretStr(SECRET))),
        ("--api-key-file FILE", ApiKeyAuth(value=SecretStr(SECRET))),
        ("--auth api-key --api-key-file FILE", ApiKeyAuth(value=SecretStr(SECRET))),
        (
            "--api-key-header Authorization --api-key-file FILE",
            ApiKeyAuth(header="Authorization", value=SecretStr(SECRET)),
        ),
    ],
)
def test_ways_to_authenticate(empty: Fleet, folder: Path, options: str, auth: object) -> None:
    """Named by --auth, or told by the options that go with one kind of it."""
    _create(empty, *options.replace("FILE", str(folder / "secret")).split())

    assert _stored(empty).auth == auth


@pytest.mark.parametrize(
    ("options", "prompt"),
    [
        ("--auth bearer", "bearer token (not shown)"),
        ("--auth api-key", "API key (not shown)"),
        ("--api-key-header X-Token", "API key (not shown)"),
    ],
)
def test_a_secret_is_asked_for_without_being_shown(empty: Fleet, options: str, prompt: str) -> None:
    """In a terminal, what was not given is typed unseen."""
    answer = f"{SECRET}\n".encode()
    typed = in_terminal(empty.environment, *CREATE, *options.split(), prompt=prompt, answer=answer)
    auth = _stored(empty).auth

    assert typed.code == 0, typed.out
    assert SECRET not in typed.out
    assert isinstance(auth, BearerAuth | ApiKeyAuth)
    assert SECRET in {
        getattr(auth, name).get_secret_value() for name in ("token", "value") if hasattr(auth, name)
    }


def test_secrets_come_through_a_pipe(empty: Fleet) -> None:
    """- is standard input, for whoever keeps secrets in a program of their own."""
    ran = run(empty.environment, *CREATE, "--header-file", "-", stdin=f"X-Key: {SECRET}".encode())

    assert ran.code == 0
    assert _plain(_stored(empty).headers) == {"X-Key": SECRET}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            "--auth bearer",
            "the bearer token is missing, and there is no terminal to ask at: give --token-file",
        ),
        ("--auth api-key", "the API key is missing, and there is no terminal to ask at: give --api-key-file"),
        (f"--auth none --token {SECRET}", "--token goes with --auth bearer, not with --auth none"),
        (
            f"--auth api-key --token {SECRET}",
            "--token goes with --auth bearer, not with --auth api-key",
        ),
        (
            "--auth bearer --api-key-header X",
            "--api-key-header goes with --auth api-key, not with --auth bearer",
        ),
        (
            f"--token {SECRET} --api-key-file FOLDER/secret",
            "--api-key-file goes with --auth api-key, not with --auth bearer",
        ),
        (f"--token {SECRET} --token-file FOLDER/secret", "give --token or --token-file, not both"),
        (f"--token \u00e9{SECRET}", "--token: give the token alone"),
        ("--token-file FOLDER/headers", "--token-file: give the token alone"),
        ("--api-key-file FOLDER/headers", "--api-key-file: give a header's value in printable ASCII"),
        (
            "--api-key-file FOLDER/secret --api-key-header Host",
            "--api-key-header: the header Host is not for you to set",
        ),
        (f"--add-header {SECRET}", "--add-header: number 1 is not written as 'NAME: VALUE'"),
        (f"--add-header X-A:1 --add-header {SECRET}", "--add-header: number 2 is not written"),
        (f"--add-header X-A:{SECRET} --add-header X-A:{SECRET}", "--add-header: X-A comes twice"),
        (f"--add-header X-A:{SECRET} --add-header x-a:{SECRET}", "--add-header: names a header twice"),
        (
            f"--add-header X-Env:{SECRET} --header-file FOLDER/headers",
            "--add-header and --header-file both have",
        ),
        (
            f"--add-header x-env:{SECRET} --header-file FOLDER/headers",
            "--add-header or --header-file: names a header twice",
        ),
        ("--add-header X-A:", "--add-header: give a header's value"),
        (
            f"--add-header Content-Type:{SECRET}",
            "--add-header: the header Content-Type is not for you to set",
        ),
        ("--header-file FOLDER/secret", "--header-file: number 1 is not written as NAME: VALUE, one a line"),
        (
            f"--api-key-header X-A --api-key-file FOLDER/secret --add-header X-A:{SECRET}",
            "--add-header: names the header of the API key",
        ),
        ("--signing-secret-file FOLDER/secret", "--signing-secret-file: give whsec_ and 24 to 64"),
        (
            " ".join(["--signing-secret-file FOLDER/new"] * 3),
            "--signing-secret-file: ",
        ),
        ("--signing-secret-file /dev/null", "--signing-secret-file: /dev/null holds no text"),
        ("--connections 129", "--connections: "),
        ("--body form", "Invalid value for '--body'"),
        ("--timeout 0", "--timeout: "),
        ("--framing newline", "--framing is of no use for webhook: it goes with syslog_cef"),
        ("--field a=b", "--field is of no use for webhook: it goes with splunk_hec"),
        ("--ca-file FOLDER/headers", "--ca-file: is not a certificate in PEM"),
    ],
)
def test_what_cannot_work_is_refused_at_once(empty: Fleet, folder: Path, options: str, words: str) -> None:
    """One line names the option, never a secret, and nothing is created."""
    ran = _create(empty, *options.replace("FOLDER", str(folder)).split())

    assert ran.code == 2
    assert ran.complaint.startswith(words)
    assert SECRET not in ran.err
    assert "whsec_" not in ran.err.replace("give whsec_ and", "")
    assert empty.store.list() == []


def test_a_new_secret_is_one_and_another_each_time() -> None:
    """Standard Webhooks 1.0.0: whsec_ and base64; ours are of 32 bytes; nothing else is printed."""
    printed = [run({}, "integrations", "new-secret") for _ in range(2)]
    keys = [signing_key(SecretStr(ran.out.removesuffix("\n"))) for ran in printed]

    assert [(ran.code, ran.err, ran.out.count("\n")) for ran in printed] == [(0, "", 1)] * 2
    assert [len(key) for key in keys] == [32, 32]
    assert keys[0] != keys[1]


def test_what_was_created_is_what_is_listed(empty: Fleet) -> None:
    """Create, list and show print the same document."""
    created = _create(empty, "--json").json
    listed = call(empty.environment, "integrations", "list", "--json").json["items"]
    shown = call(empty.environment, "integrations", "show", "siem", "--json").json

    assert [created] == listed == [shown]
    assert json.dumps(created).count("null") == 6


def _create(fleet: Fleet, *options: str) -> Ran:
    return create(fleet.environment, URL, "--type", "webhook", *options)


def _stored(fleet: Fleet) -> Webhook:
    destination = fleet.store.get(fleet.store.resolve("siem")).destination
    assert isinstance(destination, Webhook)
    return destination


def _plain(headers: dict[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in headers.items()}
