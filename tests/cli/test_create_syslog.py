"""`siem integrations create` for CEF over syslog: each option has its effect."""

from pathlib import Path

import trustme

from tests.cli.running import call, create, destination_of
from tests.fleet import Fleet
from worker.integrations.syslog_cef import SyslogCef


def test_an_address_is_enough(empty: Fleet) -> None:
    """Nothing is asked for: syslog knows no secret; what is left out is what the model says."""
    created = create(empty.environment, "syslog://siem.example.com:514", "--json")

    assert created.err == ""
    assert _stored(empty) == SyslogCef(url="syslog://siem.example.com:514")


def test_every_option_has_its_effect(empty: Fleet, tmp_path: Path) -> None:
    """What was asked for is what stands in the ledger."""
    ca = trustme.CA()
    certificate = ca.issue_cert("client")
    ca.cert_pem.write_to_path(tmp_path / "ca")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    options = (
        "--facility local4 --header rfc5424 --framing newline --hostname plane --no-src "
        "--max-message-bytes 9000 --confirm-by-shutdown --batch-events 9 --batch-bytes 9000 --timeout 7.5 "
        f"--ca-file {tmp_path / 'ca'} --client-cert-file {tmp_path / 'cert'} "
        f"--client-key-file {tmp_path / 'key'} --tls-server-name siem.internal. --insecure"
    )
    created = create(empty.environment, "syslog+tls://siem.example.com", *options.split(), "--json").json

    assert destination_of(created) == {
        "type": "syslog_cef",
        "url": "syslog+tls://siem.example.com",
        "facility": "local4",
        "header": "rfc5424",
        "framing": "newline",
        "hostname": "plane",
        "time_zone": "UTC",
        "send_src": False,
        "max_message_bytes": 9000,
        "confirm_by_shutdown": True,
        "max_datagrams_per_second": 5000,
        "batch_events": 9,
        "batch_bytes": 9000,
        "timeout_seconds": 7.5,
        "verify_tls": False,
        "ca_pem": ca.cert_pem.bytes().decode().strip(),
        "client_cert_pem": certificate.cert_chain_pems[0].bytes().decode().strip(),
        "client_key_pem": "set",
        "tls_server_name": "siem.internal",
    }


def test_datagrams_have_a_pace(empty: Fleet) -> None:
    """The option that only UDP has; and --src says what is so anyway."""
    create(empty.environment, "syslog+udp://siem", "--max-datagrams-per-second", "100", "--src")

    assert _stored(empty) == SyslogCef(url="syslog+udp://siem", max_datagrams_per_second=100)


def test_a_header_without_a_zone_has_that_of_the_receiver(empty: Fleet) -> None:
    """Given by its name, as the receiver's machine has it."""
    create(empty.environment, "syslog://siem", "--time-zone", "Asia/Kolkata", "--hostname", "plane-1.example")

    assert _stored(empty) == SyslogCef(
        url="syslog://siem", time_zone="Asia/Kolkata", hostname="plane-1.example"
    )


def test_it_is_shown(empty: Fleet) -> None:
    """List and show know the type, the address and what belongs to it."""
    create(empty.environment, "syslog+udp://siem:10514", "--facility", "local7", name="qradar")
    listed = call(empty.environment, "integrations", "list").out.splitlines()[1]
    shown = dict(
        line.split(maxsplit=1)
        for line in call(empty.environment, "integrations", "show", "qradar").out.splitlines()
        if len(line.split()) > 1
    )

    assert listed.split()[1:3] == ["qradar", "syslog_cef"]
    assert listed.endswith("syslog+udp://siem:10514")
    assert shown["type"] == "syslog_cef"
    assert shown["facility"] == "local7"
    assert shown["send_src"] == "yes"


def _stored(fleet: Fleet) -> object:
    return fleet.store.get(fleet.store.resolve("siem")).destination
