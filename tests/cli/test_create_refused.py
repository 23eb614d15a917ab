"""`siem integrations create` refuses at once what cannot work, whatever the type."""

from pathlib import Path

import pytest

from tests.cli.conftest import SECRET
from tests.cli.running import call
from tests.fleet import Fleet

HOOK = "https://endpoint.example.com/webhook"
NO_TLS = "is of no use without TLS: give an address like syslog+tls://siem:6514"
NO_TYPE = "the type cannot be derived from the url: give --type splunk_hec or --type webhook"
NO_SCHEME = "--url: begins with nothing that we know; give one like https://"

#: What is typed first; then, of each case, what is typed behind it, and how the refusal begins.
REFUSED = {
    "--url https://splunk.example.com:8088/services/collector/event": [
        ("", "the HEC token is missing, and there is no terminal to ask at: give --token-file"),
        ("--token a --url ftp://x", NO_SCHEME),
        ("--token a --timeout 31", "--timeout:"),
        ("--token a --type splunk_hec --url https://[::1", "--url: give an address like https://splunk"),
        ("--token a --index Main", "--index:"),
        ("--token a --batch-events 0", "--batch-events:"),
        ("--token a --batch-bytes many", "Invalid value for '--batch-bytes'"),
        ("--token a --max-retries 4", "--max-retries:"),
        ("--token a --source-type=", "--source-type:"),
        ("--token a --field a", "--field: number 1 is not written as NAME=VALUE"),
        ("--token a --field a=b --field a=c", "--field: a comes twice"),
        ("--token a --field 1a=b", "--field:"),
        ("--token a --ack-timeout 3", "--ack-timeout goes with --use-ack"),
        ("--token a --use-ack --ack-timeout 251", "--ack-timeout:"),
        ("--token a --token-file /dev/null", "give --token or --token-file, not both"),
        ("--token a --facility local1", "--facility is of no use for splunk_hec: it goes with syslog_cef"),
        ("--token a --body lines", "--body is of no use for splunk_hec: it goes with webhook"),
        ("--token a --auth none", "--auth is of no use for splunk_hec: it goes with webhook"),
        ("--token-file /dev/null", "--token-file: /dev/null holds no text"),
        ("--token-file /usr/bin/env", "--token-file: /usr/bin/env holds no text"),
        (
            "--token a --event-type policy.nope",
            "Invalid value for '--event-type': 'policy.nope' is not one of 'policy.deny',",
        ),
        (
            "--token a --event-type policy.deny --all-events",
            "give --event-type or --all-events, not both",
        ),
        (
            "--token a --client-key-file /etc/passwd",
            "--client-cert-file and --client-key-file go together",
        ),
        ("--token a --ca-file /etc/passwd", "--ca-file: is not a certificate in PEM"),
        (
            "--token a --url http://s:8088/services/collector --insecure",
            "--insecure is of no use without TLS",
        ),
    ],
    "--url syslog://siem": [
        ("--max-datagrams-per-second 1", "--max-datagrams-per-second is of no use without UDP"),
        ("--hostname=", "--hostname: "),
        (
            "--hostname [::1]",
            "--hostname: in an RFC 3164 header receivers read no name but of letters",
        ),
        ("--time-zone CET/Mars", "--time-zone: give a name of the IANA time zone database, like"),
        ("--header rfc5424 --time-zone Europe/Paris", "--time-zone: the time in an RFC 5424 header"),
        ("--facility auth", "Invalid value for '--facility'"),
        ("--header cef", "Invalid value for '--header'"),
        ("--insecure", f"--insecure {NO_TLS}"),
        ("--tls-server-name siem", f"--tls-server-name {NO_TLS}"),
        ("--token t", "--token is of no use for syslog_cef: it goes with splunk_hec and webhook"),
        ("--index main", "--index is of no use for syslog_cef: it goes with splunk_hec"),
        ("--gzip", "--gzip is of no use for syslog_cef: it goes with splunk_hec"),
        ("--connections 2", "--connections is of no use for syslog_cef: it goes with webhook"),
        ("--url syslog+tcp://siem --client-key-file /etc/hostname", f"--client-key-file {NO_TLS}"),
    ],
    "--url syslog+udp://siem": [
        ("--framing newline", "--framing: a datagram needs none"),
        ("--confirm-by-shutdown", "--confirm-by-shutdown: a datagram is never confirmed"),
        ("--max-message-bytes 65508", "--max-message-bytes: a datagram carries 65507 bytes"),
        ("--max-datagrams-per-second 0", "--max-datagrams-per-second: "),
        ("--ca-file /etc/hostname", f"--ca-file {NO_TLS}"),
    ],
    "--url syslog+tls://siem": [
        ("--max-message-bytes 1", "--max-message-bytes: "),
        ("--framing lines", "Invalid value for '--framing'"),
        ("--tls-server-name siem:6514", "--tls-server-name: give the name of a host"),
        ("--client-key-file /etc/hostname", "--client-cert-file and --client-key-file go together"),
        ("--ca-file /etc/hostname", "--ca-file: is not a certificate in PEM"),
    ],
    f"--type webhook --url {HOOK}": [
        (
            "--auth bearer",
            "the bearer token is missing, and there is no terminal to ask at: give --token-file",
        ),
        ("--auth api-key", "the API key is missing, and there is no terminal to ask at: give --api-key-file"),
        (f"--auth none --token {SECRET}", "--token goes with --auth bearer, not with --auth none"),
        (f"--auth api-key --token {SECRET}", "--token goes with --auth bearer, not with --auth api-key"),
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
        (" ".join(["--signing-secret-file FOLDER/new"] * 3), "--signing-secret-file: "),
        ("--signing-secret-file /dev/null", "--signing-secret-file: /dev/null holds no text"),
        ("--connections 129", "--connections: "),
        ("--body form", "Invalid value for '--body'"),
        ("--timeout 0", "--timeout: "),
        ("--framing newline", "--framing is of no use for webhook: it goes with syslog_cef"),
        ("--field a=b", "--field is of no use for webhook: it goes with splunk_hec"),
        ("--ca-file FOLDER/headers", "--ca-file: is not a certificate in PEM"),
    ],
    # Splunk and a webhook look alike behind a bare https url.
    f"--url {HOOK}": [
        ("", NO_TYPE),
        ("--token t", NO_TYPE),
        ("--batch-events 5", NO_TYPE),
        ("--insecure", NO_TYPE),
        ("--index main --body lines", NO_TYPE),
    ],
    "": [
        ("--url siem:514", NO_SCHEME),
        ("--url tcp://siem:514", NO_SCHEME),
        ("--url=", NO_SCHEME),
        ("--url ftp://siem", NO_SCHEME),
        ("--url //siem", NO_SCHEME),
        ("--url https://x --type syslog_cef", "--url: give an address like syslog://siem:514"),
        ("--url syslog://x --type webhook", "--url: give an address like https://endpoint"),
        ("--url syslog://x --type splunk_hec --token t", "--url: give an address like https://splunk"),
    ],
}


@pytest.mark.parametrize("first", REFUSED)
def test_what_cannot_work_is_refused_at_once(empty: Fleet, folder: Path, first: str) -> None:
    """One line names the option and what would be right, never a secret, and nothing is created."""
    wrong = {}
    for options, words in REFUSED[first]:
        typed = f"{first} {options}".replace("FOLDER", str(folder)).split()
        ran = call(empty.environment, "integrations", "create", "--name", "siem", *typed)
        shows_secret = SECRET in ran.err or "whsec_" in ran.err.replace("give whsec_ and", "")
        if shows_secret or not ran.refuses(words):
            wrong[options] = ran

    assert wrong == {}
    assert empty.store.list() == []
