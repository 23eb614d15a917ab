"""A webhook as a customer configures it: where each secret goes, and which headers are not for sale."""

import base64
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from tests.integrations.refusals import SECRET, document, refusal, webhook, wrong_refusals
from worker.integrations.integration import parse_integration
from worker.integrations.webhook import ApiKeyAuth, BearerAuth, NoAuth, signing_key

EXAMPLE = "give an address like https://endpoint.example.com/webhook"
NAME = "give a header's name: letters, digits, hyphens and underscores"
VALUE = "give a header's value: not empty, no spaces around it"
ONE_LINE = "give a header's value in printable ASCII, on one line"
SIGNING = "give whsec_ and 24 to 64 random bytes in base64, as `siem integrations new-secret` prints them"
TOKEN_ALONE = "give the token alone: printable characters, no spaces, without the word Bearer"
NOT_YOURS = "is not for you to set: choose another, or `auth`"
TWICE = "names a header twice: many servers read upper and lower case, `-` and `_` as the same"
ALIKE = {
    "Content_Length": "content-length",
    "TRANSFER_encoding": "transfer-encoding",
    "Webhook_Signature": "webhook-signature",
}
NO_NAMES = ("", "X Key", "X:Key", "X-Key\r\nX", "-X", "_x", "é", "x" * 129, f"{SECRET}\n")
OURS = [
    *("Authorization", "Connection", "Cookie", "Expect", "Host", "Keep-Alive", "TE", "Trailer"),
    *("Transfer-Encoding", "Upgrade", "User-Agent", "webhook-id", "Webhook-Timestamp", "WEBHOOK-SIGNATURE"),
    *("Content-Type", "content-length", "Content-Encoding", "Content-Anything"),
]


def whsec(length: int) -> str:
    """Make a signing secret of that many bytes."""
    return "whsec_" + base64.b64encode(bytes(range(length))).decode()


def test_what_is_left_out() -> None:
    """An address is enough: no authentication, one event a request."""
    read = webhook()

    assert (read.auth, read.headers, read.signing_secrets) == (NoAuth(), {}, ())
    assert (read.body, read.connections) == ("event", 32)
    assert (read.batch_events, read.batch_bytes) == (250, 900_000)
    assert read.timeout_seconds == 15.0


def test_secrets_are_never_printed() -> None:
    """Whatever holds one shows that it is set, and nothing of it."""
    read = webhook(
        auth={"kind": "api_key", "value": SECRET}, headers={"X-Key": SECRET}, signing_secrets=[whsec(32)]
    )
    shown = [repr(read), str(read), read.model_dump_json(), str(read.model_dump()), repr(read.auth)]

    assert [text for text in shown if SECRET in text or whsec(32)[6:] in text] == []
    assert read.headers["X-Key"].get_secret_value() == SECRET


@pytest.mark.parametrize(
    "url",
    [
        "http://endpoint",
        "https://endpoint.example.com/webhook?key=1&b=%20",
        "HTTPS://[2001:db8::1]:8443/",
        "https://endpoint.example.com/services/collector/event",
    ],
)
def test_a_url_is_kept_as_it_was_given(url: str) -> None:
    """A query is welcome: many endpoints differ by it alone."""
    assert webhook(url=url).url == url


UNDIALLABLE = [
    "",
    "endpoint.example.com",
    "ftp://endpoint",
    "syslog://endpoint",
    "https://",
    "https://:443/",
    f"https://endpoint/#{SECRET}",
    f"https://endpoint:{SECRET}/",
    "https://endpoint:0/",
    f"https://endpoint/ {SECRET}",
    f"https://endpoint/\r\nX-Injected: {SECRET}",
    f"https://[{SECRET}",
]
USER_NAME = "has a user name in it: leave it out, and give `auth` or a header instead"


def test_a_url_that_cannot_be_dialled_is_refused() -> None:
    """By an example, never by repeating it: a query may hold a key."""
    assert wrong_refusals("webhook", [({"url": url}, "url", EXAMPLE) for url in UNDIALLABLE]) == {}


def test_a_url_carries_no_credentials() -> None:
    """There is a better place for them, and the refusal names it."""
    urls = [f"https://{SECRET}@endpoint/", f"https://admin:{SECRET}@endpoint/"]

    assert wrong_refusals("webhook", [({"url": url}, "url", USER_NAME) for url in urls]) == {}


@pytest.mark.parametrize(
    ("auth", "read_as"),
    [
        ({"kind": "none"}, NoAuth()),
        ({"kind": "bearer", "token": "t0k~n/+=="}, BearerAuth(token=SecretStr("t0k~n/+=="))),
        ({"kind": "api_key", "value": "a b"}, ApiKeyAuth(header="X-Api-Key", value=SecretStr("a b"))),
        (
            {"kind": "api_key", "header": "Authorization", "value": "Key x"},
            ApiKeyAuth(header="Authorization", value=SecretStr("Key x")),
        ),
    ],
)
def test_ways_to_authenticate(auth: dict[str, str], read_as: object) -> None:
    """An API key may even use Authorization, with a scheme of its own."""
    assert webhook(auth=auth).auth == read_as


#: What `auth` cannot be, the field that the refusal names, and the reason.
WRONG_AUTH: list[tuple[Any, str, str]] = [
    (SECRET, "auth", "input should be a valid dictionary or object to extract fields from"),
    (None, "auth", "input should be a valid dictionary or object to extract fields from"),
    ({}, "auth.kind", "give one of none, bearer, api_key"),
    ({"kind": SECRET}, "auth.kind", "give one of none, bearer, api_key"),
    ({"kind": "none", "token": SECRET}, "auth.token", "extra inputs are not permitted"),
    ({"kind": "bearer"}, "auth.token", "field required"),
    ({"kind": "bearer", "token": SECRET, "x": 1}, "auth.x", "extra inputs are not permitted"),
    ({"kind": "bearer", "token": 7}, "auth.token", "input should be a valid string"),
    ({"kind": "api_key"}, "auth.value", "field required"),
    ({"kind": "api_key", "value": ""}, "auth.value", VALUE),
    ({"kind": "api_key", "value": f" {SECRET}"}, "auth.value", VALUE),
    ({"kind": "api_key", "value": f"{SECRET}\n"}, "auth.value", VALUE),
    ({"kind": "api_key", "value": SECRET * 1000}, "auth.value", VALUE),
    ({"kind": "api_key", "value": f"{SECRET}\r\nX: {SECRET}"}, "auth.value", ONE_LINE),
    ({"kind": "api_key", "value": f"é{SECRET}"}, "auth.value", ONE_LINE),
    ({"kind": "api_key", "value": SECRET, "header": f"{SECRET}: x"}, "auth.header", NAME),
    ({"kind": "api_key", "value": SECRET, "header": ""}, "auth.header", NAME),
    (
        {"kind": "api_key", "value": SECRET, "header": "Content-Type"},
        "auth.header",
        f"the header Content-Type {NOT_YOURS}",
    ),
    *(
        ({"kind": "bearer", "token": token}, "auth.token", TOKEN_ALONE)
        for token in ("", f"Bearer {SECRET}", f"{SECRET}\n", f"{SECRET} ", "é", "x" * 4097)
    ),
]


def test_authentication_that_cannot_work() -> None:
    """The part of `auth` that is wrong is named, whatever kind it is.

    RFC 6750, 2.1 has no room for blanks in a token; the word Bearer is often copied with it.
    """
    assert wrong_refusals("webhook", [({"auth": auth}, field, why) for auth, field, why in WRONG_AUTH]) == {}


def test_headers_are_kept() -> None:
    """Up to twenty, with any value that one line of ASCII can hold."""
    headers = {f"X-{number}": "a b: c~!" for number in range(20)}
    read = webhook(headers=headers).headers

    assert {name: value.get_secret_value() for name, value in read.items()} == headers


#: Headers that cannot be sent, the field that the refusal names, and the reason.
WRONG_HEADERS: list[tuple[Any, str, str]] = [
    *(({name: SECRET}, "headers", f"the header {name} {NOT_YOURS}") for name in OURS),
    *(({name: "x"}, "headers", NAME) for name in NO_NAMES),
    ({"X-Key": ""}, "headers", VALUE),
    ({"X-Key": f"{SECRET} "}, "headers", VALUE),
    ({"X-Key": "x" * 4097}, "headers", VALUE),
    ({"X-Key": f"{SECRET}\r\nX: y"}, "headers", ONE_LINE),
    ({"X-Key": f"{SECRET}\0x"}, "headers", ONE_LINE),
    ({"X-Key": f"é{SECRET}"}, "headers", ONE_LINE),
    ({"X-Key": 7}, "headers.X-Key", "input should be a valid string"),
    (SECRET, "headers", "input should be a valid dictionary"),
    ({"X-Key": SECRET, "x-key": SECRET}, "headers", TWICE),
    ({"X-Key": SECRET, "X_Key": SECRET}, "headers", TWICE),
    *(
        ({name: SECRET}, "headers", f"the header {name}, which many servers read as {alike}, {NOT_YOURS}")
        for name, alike in ALIKE.items()
    ),
    ({"Proxy": SECRET}, "headers", f"the header Proxy {NOT_YOURS}"),
    (
        {f"X-{number}": SECRET for number in range(21)},
        "headers",
        "dictionary should have at most 20 items after validation, not more",
    ),
]


def test_headers_that_cannot_be_sent() -> None:
    """A line break would be another header; two of one name would be ambiguous.

    Ours change who we are, or how the request is read (RFC 9110, 7.6.1), or forge a signature. A name is
    what RFC 9110, 5.1 says, and less: what every server takes.
    """
    asked = [({"headers": headers}, field, why) for headers, field, why in WRONG_HEADERS]

    assert wrong_refusals("webhook", asked) == {}


def test_a_header_with_underscores_is_read_again_as_it_was_stored() -> None:
    """A rule that came later makes no integration unreadable."""
    stored = document("webhook", headers={"Content_Length": "7", "X-A": "1", "X_A": "2"})

    assert len(parse_integration(stored, stored=True).destination.headers) == 3  # type: ignore[attr-defined]  # a webhook


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://bücher.example/ü?a=1", "https://xn--bcher-kva.example/ü?a=1"),
        ("https://BÜCHER.example:8443", "https://xn--bcher-kva.example:8443"),
        ("https://a_b.straße.example/", "https://a_b.xn--strae-oqa.example/"),
        ("https://例え。jp/", "https://xn--r8jz45g.jp/"),
        ("https://Plain.Example/", "https://Plain.Example/"),
    ],
)
def test_a_host_beyond_ascii_is_kept_as_the_dns_knows_it(given: str, kept: str) -> None:
    """RFC 5891: accepted as it was, it would fail at each delivery."""
    assert webhook(url=given).url == kept
    assert webhook(tls_server_name=urlsplit(given).hostname).tls_server_name == urlsplit(kept).hostname


@pytest.mark.parametrize("host", ["ü" * 70, "\u0301bc", "a\u2260b"])
def test_a_host_that_is_no_name_is_refused(host: str) -> None:
    """With what would be right."""
    error = refusal(document("webhook", url=f"https://{host}.example/"))

    assert error.field == "url"
    assert "xn--" in error.reason or error.reason == EXAMPLE


def test_the_api_key_has_its_header_for_itself() -> None:
    """Which of the two would be sent, no customer could know."""
    auth = {"kind": "api_key", "value": SECRET}
    twice = "names the header of the API key; give it in one place"
    names = ("X-Api-Key", "x-api-key", "X_Api_Key")
    asked = [({"auth": auth, "headers": {name: SECRET}}, "headers", twice) for name in names]

    assert wrong_refusals("webhook", asked) == {}


@pytest.mark.parametrize("length", [24, 32, 64])
def test_signing_secrets_stand_for_their_bytes(length: int) -> None:
    """Standard Webhooks 1.0.0: between 24 and 64 bytes, base64, behind whsec_."""
    [secret] = webhook(signing_secrets=[whsec(length)]).signing_secrets

    assert signing_key(secret) == bytes(range(length))


def test_two_signing_secrets_keep_their_order() -> None:
    """Standard Webhooks 1.0.0 rotates with several signatures; ours begin with the newest."""
    read = webhook(signing_secrets=[whsec(32), whsec(24)]).signing_secrets

    assert [secret.get_secret_value() for secret in read] == [whsec(32), whsec(24)]


NO_SIGNING_SECRETS = [
    "",
    "whsec_",
    SECRET,
    whsec(23),
    whsec(65),
    whsec(32).removeprefix("whsec_"),
    f"x{whsec(32)}",
    f"{whsec(32)} ",
    whsec(32).rstrip("="),
    "whsec_" + "é" * 44,
    "whsec_" + "-_" * 22,
    f"whsk_{SECRET}",
]


def test_a_signing_secret_that_is_none_is_refused() -> None:
    """In words that say how to get one."""
    for secret in NO_SIGNING_SECRETS:
        error = refusal(document("webhook", signing_secrets=[whsec(32), secret]))

        assert (error.field, error.reason) == ("signing_secrets", SIGNING), secret
        assert whsec(32)[6:] not in str(error), secret


#: Values of fields that only webhooks have, the field that is named, and the reason.
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"signing_secrets": [7]}, "signing_secrets.0", "input should be a valid string"),
    ({"signing_secrets": SECRET}, "signing_secrets", "input should be a valid tuple"),
    (
        {"signing_secrets": [whsec(32)] * 3},
        "signing_secrets",
        "tuple should have at most 2 items after validation, not 3",
    ),
    ({"body": SECRET}, "body", "input should be 'event', 'array' or 'lines'"),
    ({"connections": 0}, "connections", "input should be greater than or equal to 1"),
    ({"connections": 129}, "connections", "input should be less than or equal to 128"),
    (
        {"connections": SECRET},
        "connections",
        "input should be a valid integer, unable to parse string as an integer",
    ),
]


def test_a_refusal_names_the_field() -> None:
    """Field, and what would be right, for each that only webhooks have."""
    assert wrong_refusals("webhook", WRONG) == {}
