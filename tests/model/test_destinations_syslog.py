"""CEF over syslog as a customer configures it: the url chooses the way, and the rest has to fit it."""

from typing import Any

import pytest

from tests.model.refusals import SECRET, document, refusal, syslog

EXAMPLE = "give an address like syslog://siem:514, syslog+udp://siem:514 or syslog+tls://siem:6514"


def test_what_is_left_out() -> None:
    """An address is enough."""
    read = syslog()

    assert (read.facility, read.header, read.hostname, read.send_src) == (
        "local0",
        "rfc3164",
        "mitrity",
        True,
    )
    assert (read.framing, read.max_message_bytes, read.confirm_by_shutdown) == (None, None, False)
    assert (read.max_datagrams_per_second, read.batch_events, read.timeout_seconds) == (5000, 500, 20.0)


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
    """A datagram is short unless somebody knows better: RFC 5426, 3.2 asks receivers to take 2048 bytes."""
    assert syslog(url, max_message_bytes=given).message_limit == limit


@pytest.mark.parametrize(
    "url",
    [
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
    ],
)
def test_a_url_that_cannot_be_dialled_is_refused(url: str) -> None:
    """A host and perhaps a port, and nothing else."""
    error = refusal(document("syslog_cef", url=url))

    assert (error.field, error.reason) == ("url", EXAMPLE)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (
            "facility",
            SECRET,
            "input should be 'local0', 'local1', 'local2'",
        ),
        (
            "facility",
            16,
            "input should be 'local0', 'local1', 'local2'",
        ),
        ("header", SECRET, "input should be 'rfc3164' or 'rfc5424'"),
        ("framing", SECRET, "input should be 'newline' or 'octet_counted'"),
        ("hostname", "", "string should match pattern '^[!-~]{1,255}$'"),
        ("hostname", f"{SECRET} x", "string should match pattern '^[!-~]{1,255}$'"),
        ("hostname", f"{SECRET}\n", "string should match pattern '^[!-~]{1,255}$'"),
        ("hostname", "x" * 256, "string should match pattern '^[!-~]{1,255}$'"),
        ("hostname", "münchen", "string should match pattern '^[!-~]{1,255}$'"),
        ("send_src", SECRET, "input should be a valid boolean, unable to interpret input"),
        ("confirm_by_shutdown", SECRET, "input should be a valid boolean, unable to interpret input"),
        ("max_message_bytes", 479, "input should be greater than or equal to 480"),
        ("max_message_bytes", 200_001, "input should be less than or equal to 200000"),
        ("max_datagrams_per_second", 0, "input should be greater than or equal to 1"),
        ("max_datagrams_per_second", 1_000_001, "input should be less than or equal to 1000000"),
        (
            "max_datagrams_per_second",
            SECRET,
            "input should be a valid integer, unable to parse string as an integer",
        ),
    ],
)
def test_a_refusal_names_the_field(field: str, value: Any, reason: str) -> None:
    """Field, and what would be right, for each that only syslog has."""
    error = refusal(document("syslog_cef", **{field: value}))

    assert error.field == field
    assert error.reason.startswith(reason)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("framing", "newline", "a datagram needs none; leave it out, or use syslog:// or syslog+tls://"),
        (
            "framing",
            "octet_counted",
            "a datagram needs none; leave it out, or use syslog:// or syslog+tls://",
        ),
        ("confirm_by_shutdown", True, "a datagram is never confirmed; use syslog:// or syslog+tls://"),
        ("max_message_bytes", 65_508, "a datagram carries 65507 bytes at the most"),
    ],
)
def test_what_does_not_fit_a_datagram_is_refused(field: str, value: Any, reason: str) -> None:
    """The field to change is named, although two of them disagree."""
    error = refusal(document("syslog_cef", url="syslog+udp://siem", **{field: value}))

    assert (error.field, error.reason) == (field, reason)


@pytest.mark.parametrize("url", ["syslog://siem", "syslog+tcp://siem", "syslog+udp://siem"])
@pytest.mark.parametrize(
    "options",
    [
        {"ca_pem": SECRET},
        {"client_cert_pem": SECRET, "client_key_pem": SECRET},
        {"verify_tls": False},
    ],
)
def test_tls_options_want_tls(url: str, options: dict[str, Any]) -> None:
    """Whoever gives a CA believes that the way is encrypted."""
    error = refusal(document("syslog_cef", url=url, **options))

    assert (
        error.reason == "options of TLS are of no use without it: give an address like syslog+tls://siem:6514"
    )


def test_tls_takes_its_options() -> None:
    """CA, certificate and key are kept, the key as a secret."""
    read = syslog(ca_pem="ca", client_cert_pem="cert", client_key_pem=SECRET, verify_tls=False)

    assert (read.ca_pem, read.client_cert_pem, read.verify_tls) == ("ca", "cert", False)
    assert SECRET not in repr(read)
