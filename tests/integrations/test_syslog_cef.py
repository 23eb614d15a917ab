"""CEF over syslog as a customer configures it: the url chooses the way, and the rest has to fit it."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import pytest

from tests.integrations.refusals import SECRET, document, refusal, syslog, wrong_refusals
from worker.integrations import syslog_cef
from worker.integrations.integration import parse_integration
from worker.integrations.syslog_cef import SyslogCef, time_zone
from worker.model.errors import InvalidIntegration

_PRINTABLE = "give 1 to 255 printable ASCII characters without a blank"
_ZONE = "give a name of the IANA time zone database, like Europe/Berlin or America/New_York, or UTC"
EXAMPLE = "give an address like syslog://siem:514, syslog+udp://siem:514 or syslog+tls://siem:6514"


def test_what_is_left_out() -> None:
    """An address is enough."""
    defaults: dict[str, Any] = {
        "facility": "local0",
        "header": "rfc3164",
        "hostname": "mitrity",
        "send_src": True,
        "time_zone": "UTC",
        "framing": None,
        "max_message_bytes": None,
        "confirm_by_shutdown": False,
        "max_datagrams_per_second": 5000,
        "batch_events": 500,
        "timeout_seconds": 20.0,
    }

    assert syslog().model_dump(include=set(defaults)) == defaults


@pytest.mark.parametrize(
    ("url", "transport", "target"),
    [
        ("syslog://siem", "tcp", ("siem", 514)),
        ("syslog://siem:1514/", "tcp", ("siem", 1514)),
        ("syslog+tcp://siem", "tcp", ("siem", 514)),
        ("SYSLOG+UDP://SIEM", "udp", ("siem", 514)),
        ("syslog+udp://10.0.0.1:10514", "udp", ("10.0.0.1", 10514)),
        ("syslog+tls://siem", "tls", ("siem", 6514)),
        ("syslog+tls://[2001:db8::1]:6515", "tls", ("2001:db8::1", 6515)),
    ],
)
def test_the_url_chooses_the_way(url: str, transport: str, target: tuple[str, int]) -> None:
    """Ports are those of RFC 3164 (514) and RFC 5425, 4.1 (6514), unless the url names one."""
    read = syslog(url)

    assert (read.transport, read.target) == (transport, target)


@pytest.mark.parametrize(
    ("url", "framing", "counts"),
    [
        ("syslog://siem", None, False),
        ("syslog://siem", "newline", False),
        ("syslog://siem", "octet_counted", True),
        ("syslog+tls://siem", None, True),
        ("syslog+tls://siem", "newline", False),
        ("syslog+tls://siem", "octet_counted", True),
        ("syslog+udp://siem", None, False),
    ],
)
def test_framing_suits_the_way(url: str, framing: str | None, counts: bool) -> None:  # noqa: FBT001 - a table's column
    """RFC 5425, 4.3: over TLS octets are counted; over TCP receivers expect newlines (RFC 6587, 3.4.2)."""
    assert syslog(url, framing=framing).counts_octets == counts


@pytest.mark.parametrize(
    ("url", "given", "limit"),
    [
        ("syslog://siem", None, 8000),
        ("syslog+tls://siem", None, 8000),
        ("syslog+udp://siem", None, 2048),
        ("syslog+udp://siem", 65_507, 65_507),
        ("syslog://siem", 480, 480),
        ("syslog://siem", 200_000, 200_000),
    ],
)
def test_the_longest_message_suits_the_way(url: str, given: int | None, limit: int) -> None:
    """A datagram is short unless the receiver takes more: RFC 5426, 3.2 asks receivers to take 2048 bytes."""
    assert syslog(url, max_message_bytes=given).message_limit == limit


UNDIALLABLE = [
    "",
    "siem:514",
    "tcp://siem:514",
    "https://siem",
    "syslog+sctp://siem",
    "syslog://",
    "syslog://:514",
    f"syslog://{SECRET}@siem",
    f"syslog://admin:{SECRET}@siem",
    f"syslog://siem/{SECRET}",
    f"syslog://siem?token={SECRET}",
    f"syslog://siem#{SECRET}",
    f"syslog://siem:{SECRET}",
    "syslog://siem:0",
    "syslog://siem:65536",
    "syslog://siem ",
    "syslog://si em",
    "syslog://siem\n",
    "syslog://[::1",
    "syslog+udp://[",
]


def test_a_url_that_cannot_be_dialled_is_refused() -> None:
    """A host and perhaps a port, and nothing else."""
    assert wrong_refusals("syslog_cef", [({"url": url}, "url", EXAMPLE) for url in UNDIALLABLE]) == {}


NO_ZONES = (
    *("", SECRET, "europe/berlin", "Europe", "../../etc/passwd", "/etc/localtime", "localtime"),
    *("right/Europe/Berlin", "CET\0"),
)
NO_FACILITY = "input should be " + ", ".join(f"'local{number}'" for number in range(7)) + " or 'local7'"
NO_SWITCH = "input should be a valid boolean, unable to interpret input"
NO_NUMBER = "input should be a valid integer, unable to parse string as an integer"
#: Values of fields that only syslog has, and the reasons for which they are refused.
WRONG: list[tuple[str, Any, str]] = [
    ("facility", SECRET, NO_FACILITY),
    ("facility", 16, NO_FACILITY),
    ("header", SECRET, "input should be 'rfc3164' or 'rfc5424'"),
    ("framing", SECRET, "input should be 'newline' or 'octet_counted'"),
    *(("hostname", name, _PRINTABLE) for name in ("", f"{SECRET} x", f"{SECRET}\n", "x" * 256, "münchen")),
    *(("time_zone", name, _ZONE) for name in NO_ZONES),
    ("send_src", SECRET, NO_SWITCH),
    ("confirm_by_shutdown", SECRET, NO_SWITCH),
    ("max_message_bytes", 479, "input should be greater than or equal to 480"),
    ("max_message_bytes", 200_001, "input should be less than or equal to 200000"),
    ("max_datagrams_per_second", 0, "input should be greater than or equal to 1"),
    ("max_datagrams_per_second", 1_000_001, "input should be less than or equal to 1000000"),
    ("max_datagrams_per_second", SECRET, NO_NUMBER),
]


def test_a_refusal_names_the_field() -> None:
    """Field, and what would be right, for each that only syslog has."""
    assert wrong_refusals("syslog_cef", [({field: given}, field, why) for field, given, why in WRONG]) == {}


NO_FRAMING = "a datagram needs none; leave it out, or use syslog:// or syslog+tls://"
NOT_FOR_DATAGRAMS: list[tuple[str, Any, str]] = [
    ("framing", "newline", NO_FRAMING),
    ("framing", "octet_counted", NO_FRAMING),
    ("confirm_by_shutdown", True, "a datagram is never confirmed; use syslog:// or syslog+tls://"),
    ("max_message_bytes", 65_508, "a datagram carries 65507 bytes at the most"),
]


def test_what_does_not_fit_a_datagram_is_refused() -> None:
    """The field to change is named, although two of them disagree."""
    udp = {"url": "syslog+udp://siem"}
    asked = [(udp | {field: given}, field, why) for field, given, why in NOT_FOR_DATAGRAMS]

    assert wrong_refusals("syslog_cef", asked) == {}


OPTIONS_OF_TLS: list[dict[str, Any]] = [
    {"ca_pem": SECRET},
    {"client_cert_pem": SECRET, "client_key_pem": SECRET},
    {"verify_tls": False},
    {"tls_server_name": "siem"},
]


@pytest.mark.parametrize("url", ["syslog://siem", "syslog+tcp://siem", "syslog+udp://siem"])
def test_tls_options_want_tls(url: str) -> None:
    """A customer who gives a CA believes that the way is encrypted."""
    reasons = {
        repr(options): refusal(document("syslog_cef", url=url, **options)).reason
        for options in OPTIONS_OF_TLS
    }

    useless = "options of TLS are of no use without it: give an address like syslog+tls://siem:6514"
    assert reasons == dict.fromkeys(map(repr, OPTIONS_OF_TLS), useless)


def test_tls_takes_its_options() -> None:
    """CA, certificate and key are kept, the key as a secret."""
    read = syslog(ca_pem="ca", client_cert_pem="cert", client_key_pem=SECRET, verify_tls=False)

    assert (read.ca_pem, read.client_cert_pem, read.verify_tls) == ("ca", "cert", False)
    assert SECRET not in repr(read)


#: What pmrfc3164 of rsyslog and the parser of syslog-ng take for a host name; tests/interop asks them.
PLAIN_NAMES = (
    *("mitrity", "plane-1.example.com", "10.2.0.7", "a", "7", "20260", "Host_1", "a-._b", "-a", "_a", ".a"),
    "h" * 255,
)
OTHER_NAMES = (
    *("::1", "[::1]", "2001:db8::1", "plane/eu", "plane#1", "plane,eu", "plane@eu", "a=b", "-", "plane-"),
    *("plane.", "plane_", ".", "_", "plane:", "2026", "1999"),
)


def test_a_name_that_receivers_misread_goes_with_the_other_header() -> None:
    """RFC 3164, 4.1.2 has no grammar for it; RFC 5424, 6.2.4 takes whatever can be printed."""
    for name in OTHER_NAMES:
        error = refusal(document("syslog_cef", hostname=name))

        assert error.field == "hostname", name
        assert "give such a name, or the header rfc5424" in error.reason, name
        assert syslog(hostname=name, header="rfc5424").hostname == name


@pytest.mark.parametrize("header", ["rfc3164", "rfc5424"])
def test_a_plain_name_goes_with_either_header(header: str) -> None:
    """Letters, digits, and what may stand between them."""
    assert [syslog(hostname=name, header=header).hostname for name in PLAIN_NAMES] == list(PLAIN_NAMES)


def test_the_schema_says_what_the_header_needs() -> None:
    """The API's description explains zone and names before they are refused."""
    fields = SyslogCef.model_json_schema()["properties"]

    assert "IANA time zone database" in fields["time_zone"]["description"]
    assert fields["time_zone"]["default"] == "UTC"
    assert "rfc3164" in fields["hostname"]["description"]
    assert fields["hostname"]["pattern"] == "^[!-~]{1,255}$"
    assert "certificate must carry" in fields["tls_server_name"]["description"]


def test_what_was_stored_before_a_rule_came_is_still_read() -> None:
    """Else one integration would hide all others from a list."""
    destination = {"hostname": "[::1]", "time_zone": "Mars/Phobos"}
    stored = parse_integration(document("syslog_cef", **destination), stored=True).destination

    assert isinstance(stored, SyslogCef)
    assert (stored.hostname, stored.time_zone) == ("[::1]", "Mars/Phobos")


def test_an_rfc5424_header_has_no_zone_to_choose() -> None:
    """RFC 5424, 6.2.3: its time says the zone itself, and ours is UTC."""
    error = refusal(document("syslog_cef", header="rfc5424", time_zone="Europe/Berlin"))

    assert error.field == "time_zone"
    assert "names its zone" in error.reason


def test_without_time_zone_data_only_utc_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, or on a small image: what to install is said, at the door and at work."""
    monkeypatch.setattr(syslog_cef, "available_timezones", set)
    monkeypatch.setattr(syslog_cef, "ZoneInfo", _no_zone)
    error = refusal(document("syslog_cef", time_zone="Europe/Berlin"))
    with pytest.raises(InvalidIntegration, match="install the package tzdata on it") as caught:
        time_zone("Europe/Berlin")

    assert error.reason == "this machine has no time zone data: install the package tzdata on it, or give UTC"
    assert caught.value.field == "time_zone"
    assert syslog(time_zone="UTC").time_zone == "UTC"
    assert time_zone("UTC") is dt.UTC


def _no_zone(name: str) -> None:
    raise ZoneInfoNotFoundError(name)
