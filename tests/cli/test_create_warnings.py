"""What may be a mistake is said on stderr, and created all the same."""

from tests.cli.running import create
from tests.fleet import Fleet

IN_THE_CLEAR = "will go over the network unencrypted, where others may read along"
MUST_ALLOW = (
    "nothing is sent there unless the workers' SIEM_ALLOWED_NETWORKS lists its network; no worker that "
    "delivers to"
)


def test_a_secret_in_the_clear_is_warned_of(empty: Fleet) -> None:
    """Once, on stderr, with what would be better; the document on stdout stays whole."""
    cases = [
        ("http://splunk/services/collector", "--token t", "the HEC token"),
        ("HTTP://splunk/services/collector", "--token t", "the HEC token"),
        ("http://hook/", "--type webhook --token t", "the bearer token"),
        ("http://hook/", "--type webhook --api-key-file /etc/hostname", "the API key"),
        ("http://hook/", "--type webhook --add-header X-Env:prod", "the added headers"),
    ]
    better = "give an address with https:// if the SIEM has one"
    for number, (url, options, secret) in enumerate(cases):
        ran = create(empty.environment, url, *options.split(), "--json", name=f"siem-{number}")

        assert ran.json["url"] == url
        assert ran.err == f"Warning: {secret} {IN_THE_CLEAR}: {better}.\n", (url, options)


def test_without_a_reason_nothing_is_warned_of(empty: Fleet) -> None:
    """A warning that comes always is read never."""
    cases = [
        ("https://splunk/services/collector", "--token t"),
        ("http://hook/", "--type webhook"),
        ("https://hook/", "--type webhook --token t"),
        ("syslog://siem", ""),
        ("https://8.8.8.8/", "--type webhook"),
        ("https://localhost.example.com/", "--type webhook"),
    ]
    for number, (url, options) in enumerate(cases):
        ran = create(empty.environment, url, *options.split(), name=f"siem-{number}")

        assert ran.err == "", (url, options)


def test_an_address_that_workers_must_allow(empty: Fleet) -> None:
    """The setting that counts is the workers': this command's own says nothing of theirs."""
    assert empty.environment["SIEM_ALLOWED_NETWORKS"] == "127.0.0.0/8"
    cases = [
        ("syslog://10.1.2.3:514", "", "10.1.2.3 is a private address: "),
        ("syslog+udp://192.168.0.1", "", "192.168.0.1 is a private address: "),
        ("syslog+tls://[fd00::1]:6514", "", "fd00::1 is a private address: "),
        ("https://127.0.0.1:8088/services/collector", "--token t", "127.0.0.1 is a loopback address: "),
        ("http://127.0.0.1/services/collector", "--token t", "127.0.0.1 is a loopback address: "),
        ("http://[::1]/", "--type webhook --token t", "::1 is a loopback address: "),
        ("https://localhost/", "--type webhook", "localhost is a loopback address: "),
    ]
    for number, (url, options, words) in enumerate(cases):
        ran = create(empty.environment, url, *options.split(), name=f"siem-{number}")

        assert ran.code == 0, url
        assert ran.err.startswith(f"Warning: {words}{MUST_ALLOW} "), url
        assert ran.err.endswith(" runs.\n"), url


def test_an_address_that_no_setting_can_allow(empty: Fleet) -> None:
    """No setting is suggested where none helps."""
    ran = create(empty.environment, "http://169.254.169.254/", "--type", "webhook")

    assert ran.code == 0
    assert "169.254.169.254 is link-local" in ran.err
    assert "no setting opens it" in ran.err
    assert "SIEM_ALLOWED_NETWORKS" not in ran.err


def test_both_at_once(empty: Fleet) -> None:
    """A token in the clear to a private address is two things to think of."""
    ran = create(empty.environment, "http://10.0.0.1/services/collector", "--token", "t")

    assert [line.split()[0] for line in ran.err.splitlines()] == ["Warning:", "Warning:"]


def test_what_is_refused_is_not_warned_of(empty: Fleet) -> None:
    """Nothing was created, so that there is nothing to be wary of."""
    create(empty.environment, "syslog://siem")
    ran = create(empty.environment, "syslog://10.0.0.1")

    assert ran.code == 2
    assert "name: siem is taken" in ran.complaint
