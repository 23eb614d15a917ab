"""`siem integrations create` for webhooks: secrets come from files or are typed unseen, and stay unseen."""

import json
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from tests.cli.conftest import SECRET
from tests.cli.running import Ran, call, create, destination_of, in_terminal, run
from tests.fleet import Fleet
from worker.integrations.secrets import SecretUrl
from worker.integrations.webhook import ApiKeyAuth, BearerAuth, NoAuth, Webhook, signing_key

URL = "https://endpoint.example.com/webhook"
CREATE = ("integrations", "create", "--name", "siem", "--url", URL, "--type", "webhook")


def test_an_address_is_enough(empty: Fleet) -> None:
    """Without authentication nothing is asked for; what is left out is what the model says."""
    created = _create(empty)

    assert (created.code, created.err) == (0, "")
    assert _stored(empty) == Webhook(url=SecretUrl(URL), headers={})


def test_every_option_has_its_effect(empty: Fleet, folder: Path) -> None:
    """What was asked for is what stands in the ledger; of secrets, no one is shown more than that."""
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
    """Named by --auth, or derived from the options that go with one kind of it."""
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
    """- is standard input, for those who keep secrets in a program of their own."""
    ran = run(empty.environment, *CREATE, "--header-file", "-", stdin=f"X-Key: {SECRET}".encode())

    assert ran.code == 0
    assert _plain(_stored(empty).headers) == {"X-Key": SECRET}


def test_a_new_secret_is_one_and_another_each_time() -> None:
    """Standard Webhooks 1.0.0: whsec_ and base64; ours are of 32 bytes; nothing else is printed."""
    printed = [call({}, "integrations", "new-secret") for _ in range(2)]
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
