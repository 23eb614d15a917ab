"""`siem integrations`: what is set up is what was asked for, and no secret is ever shown."""

from pathlib import Path

import pytest
import trustme

from tests.cli.running import Ran, call, destination_of, in_terminal, run
from tests.fleet import Fleet
from worker.integrations.splunk_hec import SplunkHec
from worker.model.events import DEFAULT_EVENT_TYPES
from worker.views.integrations import COMMON, READ_ONLY

URL = "https://splunk.example.com:8088/services/collector/event"
SECRET = "hec-secret-token"


def test_the_simplest_integration(empty: Fleet, tmp_path: Path) -> None:
    """Name, address and token suffice; the fleet learns of it at once, and can be deleted by its name."""
    token_file = tmp_path / "token"
    token_file.write_text(f"{SECRET}\n")
    created = _create(empty, "--token-file", str(token_file), "--json").json
    listed = call(empty.environment, "integrations", "list", "--json").json["items"]
    in_redis = empty.client.hgetall("siem:integrations")

    assert [created] == listed
    assert created["name"] == "splunk"
    assert created["tenant_id"] == "default"
    assert created["enabled"] is True
    assert set(created["event_types"]) == DEFAULT_EVENT_TYPES
    assert destination_of(created)["token"] == "set"
    assert created["id"].encode() in in_redis
    assert SECRET not in str(in_redis)

    deleted = call(empty.environment, "integrations", "delete", "splunk", "--yes", "--json").json
    assert deleted == {"deleted": created["id"]}
    assert empty.store.list() == []


def test_every_option_has_its_effect(empty: Fleet, tmp_path: Path) -> None:
    """What was asked for is what stands in the ledger; pipes bring the token; a secret is only set."""
    ca = trustme.CA()
    certificate = ca.issue_cert("client")
    ca.cert_pem.write_to_path(tmp_path / "ca")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    options = (
        "--token-file - --tenant acme --disabled --paused --index security --source-type st --host h "
        "--source s --gzip --use-ack --ack-timeout 9 --field env=prod --field team=a=b "
        "--batch-events 9 --batch-bytes 9000 --timeout 7.5 --max-retries 1 --no-redrive --insecure "
        "--tls-server-name SplunkServerDefaultCert "
        f"--event-type policy.deny --event-type hold.denied --ca-file {tmp_path / 'ca'} "
        f"--client-cert-file {tmp_path / 'cert'} --client-key-file {tmp_path / 'key'}"
    )
    created = _create(empty, *options.split(), "--json", stdin=SECRET.encode()).json
    shown = run(empty.environment, "integrations", "show", "splunk")

    assert created["id"].startswith("int_")
    assert created["created_at"] == created["updated_at"]
    assert {name: created[name] for name in created if name in {*COMMON, *READ_ONLY}} == {
        **{name: created[name] for name in ("id", "created_at", "updated_at")},
        "name": "splunk",
        "tenant_id": "acme",
        "enabled": False,
        "max_retries": 1,
        "redrive": False,
        "paused": True,
        "event_types": ["hold.denied", "policy.deny"],
        "disabled_reason": None,
        "disabled_at": None,
    }
    assert destination_of(created) == {
        "type": "splunk_hec",
        "url": URL,
        "token": "set",
        "source_type": "st",
        "index": "security",
        "host": "h",
        "source": "s",
        "fields": {"env": "prod", "team": "a=b"},
        "gzip": True,
        "use_ack": True,
        "ack_timeout_seconds": 9.0,
        "batch_events": 9,
        "batch_bytes": 9000,
        "timeout_seconds": 7.5,
        "verify_tls": False,
        "ca_pem": ca.cert_pem.bytes().decode().strip(),
        "client_cert_pem": certificate.cert_chain_pems[0].bytes().decode().strip(),
        "client_key_pem": "set",
        "tls_server_name": "SplunkServerDefaultCert",
    }
    assert SECRET not in shown.out
    assert "PRIVATE KEY" not in shown.out
    assert _token(empty) == SECRET


def test_the_token_is_asked_for_without_being_shown(empty: Fleet) -> None:
    """In a terminal, a token that was not given is typed unseen; Ctrl-C there exits with 130."""
    words = ("integrations", "create", "--name", "splunk", "--url", URL)
    typed = in_terminal(empty.environment, *words, prompt="HEC token", answer=f"{SECRET}\n".encode())
    left = in_terminal(empty.environment, *words, prompt="HEC token", answer=b"\x03")

    assert typed.code == 0, typed.out
    assert SECRET not in typed.out
    assert _token(empty) == SECRET
    assert left.code == 130
    assert "Traceback" not in left.out


@pytest.mark.slow
def test_deleting_asks_first(empty: Fleet) -> None:
    """The question tells what is at stake; no is no, and where no one can be asked, --yes must be given."""
    integration = empty.integrate(URL, "asked")
    words = ("integrations", "delete", "asked")
    refused = in_terminal(empty.environment, *words, prompt="[y/N]", answer=b"n\n")
    unasked = call(empty.environment, *words)

    assert refused.code == 1
    assert "0 undelivered events become dead letters" in refused.out
    assert unasked.code == 2
    assert "--yes" in unasked.complaint
    assert empty.store.list() == [integration]


@pytest.mark.slow
def test_names_that_do_not_identify(empty: Fleet) -> None:
    """A taken name is wrong input; for an unknown one, and one that two tenants use, the code is 4."""
    first = _create(empty, "--token", SECRET, "--json").json
    taken = _create(empty, "--token", SECRET)
    second = _create(empty, "--token", SECRET, "--tenant", "acme", "--json").json
    ambiguous = call(empty.environment, "integrations", "show", "splunk")
    unknown = call(empty.environment, "integrations", "delete", "nobody", "--yes")

    assert (taken.code, "splunk is taken" in taken.complaint) == (2, True)
    assert ambiguous.code == 4
    assert first["id"] in ambiguous.complaint
    assert second["id"] in ambiguous.complaint
    assert (unknown.code, "no integration nobody" in unknown.complaint) == (4, True)


def test_all_wrong_options_are_named_at_once(empty: Fleet) -> None:
    """One line for each, on standard error."""
    wrong = ("--token", SECRET + " x", "--timeout", "31", "--index", "Main", "--ca-file", "/etc/passwd")
    ran = call(empty.environment, "integrations", "create", "--name", "splunk", "--url", URL, *wrong)

    assert ran.code == 2
    assert {line.split(": ")[1] for line in ran.err.splitlines()} == {
        "--ca-file",
        "--token",
        "--index",
        "--timeout",
    }
    assert SECRET not in ran.err


def test_any_name_can_be_shown_in_any_terminal(empty: Fleet) -> None:
    """A terminal that lacks a character gets its code instead of a crash."""
    words = ("integrations", "create", "--name", "\u0416", "--url", URL, "--token", SECRET)
    ran = run(empty.environment, *words, PYTHONIOENCODING="latin-1")

    assert ran.code == 0
    assert ran.out.startswith(r"Created \u0416 ")


def test_a_secret_is_not_repeated_in_an_error(empty: Fleet) -> None:
    """A token that cannot be one is refused, and not shown."""
    ran = _create(empty, "--token", f"{SECRET} with blanks")

    assert ran.code == 2
    assert ran.complaint.startswith("--token: ")
    assert SECRET not in ran.err


def _create(fleet: Fleet, *options: str, stdin: bytes = b"") -> Ran:
    words = ("integrations", "create", "--name", "splunk", "--url", URL)
    return call(fleet.environment, *words, *options, stdin=stdin)


def _token(fleet: Fleet) -> str:
    destination = fleet.store.get(fleet.store.resolve("splunk")).destination
    assert isinstance(destination, SplunkHec)
    return destination.token.get_secret_value()
