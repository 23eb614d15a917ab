"""`siem integrations create` for CEF over syslog: every option, and every combination that cannot work."""

from pathlib import Path

import pytest
import trustme

from tests.cli.running import call, create, destination_of
from tests.fleet import Fleet
from worker.integrations.syslog_cef import SyslogCef

NO_TLS = "is of no use without TLS: give an address like syslog+tls://siem:6514"


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


@pytest.mark.parametrize(
    ("scheme", "options", "words"),
    [
        ("syslog+udp", "--framing newline", "--framing: a datagram needs none"),
        ("syslog+udp", "--confirm-by-shutdown", "--confirm-by-shutdown: a datagram is never confirmed"),
        ("syslog+udp", "--max-message-bytes 65508", "--max-message-bytes: a datagram carries 65507 bytes"),
        ("syslog+tls", "--max-message-bytes 1", "--max-message-bytes: "),
        ("syslog", "--max-datagrams-per-second 1", "--max-datagrams-per-second is of no use without UDP"),
        ("syslog+udp", "--max-datagrams-per-second 0", "--max-datagrams-per-second: "),
        ("syslog", "--hostname=", "--hostname: "),
        (
            "syslog",
            "--hostname [::1]",
            "--hostname: in an RFC 3164 header receivers read no name but of letters",
        ),
        ("syslog", "--time-zone CET/Mars", "--time-zone: give a name of the IANA time zone database, like"),
        (
            "syslog",
            "--header rfc5424 --time-zone Europe/Paris",
            "--time-zone: the time in an RFC 5424 header",
        ),
        ("syslog", "--facility auth", "Invalid value for '--facility'"),
        ("syslog", "--header cef", "Invalid value for '--header'"),
        ("syslog+tls", "--framing lines", "Invalid value for '--framing'"),
        ("syslog", "--insecure", f"--insecure {NO_TLS}"),
        ("syslog", "--tls-server-name siem", f"--tls-server-name {NO_TLS}"),
        ("syslog+tls", "--tls-server-name siem:6514", "--tls-server-name: give the name of a host"),
        ("syslog+udp", "--ca-file /etc/hostname", f"--ca-file {NO_TLS}"),
        ("syslog+tcp", "--client-key-file /etc/hostname", f"--client-key-file {NO_TLS}"),
        (
            "syslog+tls",
            "--client-key-file /etc/hostname",
            "--client-cert-file and --client-key-file go together",
        ),
        ("syslog+tls", "--ca-file /etc/hostname", "--ca-file: is not a certificate in PEM"),
        ("syslog", "--token t", "--token is of no use for syslog_cef: it goes with splunk_hec and webhook"),
        ("syslog", "--index main", "--index is of no use for syslog_cef: it goes with splunk_hec"),
        ("syslog", "--gzip", "--gzip is of no use for syslog_cef: it goes with splunk_hec"),
        ("syslog", "--connections 2", "--connections is of no use for syslog_cef: it goes with webhook"),
    ],
)
def test_what_cannot_work_is_refused_at_once(empty: Fleet, scheme: str, options: str, words: str) -> None:
    """One line names the option and what would be right, and nothing is created."""
    ran = create(empty.environment, f"{scheme}://siem", *options.split())

    assert ran.code == 2
    assert ran.complaint.startswith(words)
    assert empty.store.list() == []


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
    assert (shown["type"], shown["facility"], shown["send_src"]) == ("syslog_cef", "local7", "yes")


def _stored(fleet: Fleet) -> object:
    return fleet.store.get(fleet.store.resolve("siem")).destination
