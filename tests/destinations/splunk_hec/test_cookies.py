"""Cookies, by the letter of RFC 6265: what is kept of an answer, and what goes back."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.destinations.splunk_hec.channels import CookieJar

URL = "https://splunk.example.com:8088/services/collector/event"
ACK = "https://splunk.example.com:8088/services/collector/ack?channel=1"
#: 2026-11-25 00:00 UTC, the time of the answer.
NOW = 1_795_564_800.0


def sent(*lines: str, by: str = URL, to: str = URL) -> str | None:
    """Return the Cookie header of a request to `to` after an answer from `by` with these lines."""
    jar = CookieJar()
    jar.keep(lines, by, NOW)
    return jar.header(to).get("Cookie")


def test_a_value_comes_back_verbatim() -> None:
    """All between the first `=` and the first `;`, without the blanks around it (5.2)."""
    returned = {
        "AWSALB=a+b/c==; Expires=Wed, 21 Oct 2999 07:28:00 GMT; Path=/": "AWSALB=a+b/c==",
        'lb="abc123"; Path=/': 'lb="abc123"',
        'a="x y"': 'a="x y"',
        'X={"a":1}': 'X={"a":1}',
        "a=1, b=2; Secure": "a=1, b=2",
        "a=b=c=": "a=b=c=",
        'a="quoted': 'a="quoted',
        " \ta \t=\t  b c  ; x": "a=b c",
        "a=": "a=",
        "a (b)=\\x": "a (b)=\\x",
        "a=\xc3\xa9\x9f": "a=\xc3\xa9\x9f",
        "__Host-a=1; Secure; Path=/; HttpOnly; SameSite=None; Partitioned; Priority=High": "__Host-a=1",
        # Name-less ones are to be ignored (5.2); so is what no header can carry.
        "": None,
        "nonsense": None,
        "=nameless": None,
        " =; a=b": None,
        "a=1\r\nX: y": None,
        "a=\x001": None,
        "a=" + "x" * 5000: None,
    }

    assert {line: sent(line) for line in returned} == returned


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters=";\x7f"), min_size=1))
def test_any_value_comes_back_verbatim(value: str) -> None:
    """Whatever it is made of, it is not ours to read."""
    stripped = f"x{value}x"
    assert sent(f"lb={stripped}; Path=/") == f"lb={stripped}"


@pytest.mark.parametrize(
    ("lines", "returned"),
    [
        (["a=1", "b=2"], "a=1; b=2"),
        (["a=1", "a=2"], "a=2"),
        (["a=1", "b=2", "a=3"], "a=3; b=2"),
        (["a=1", "a=; Max-Age=0"], None),
        (["a=1", "a=; Max-Age=-1; Expires=Wed, 21 Oct 2999 07:28:00 GMT"], None),
        (["a=1", "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], None),
        (["a=1; Path=/", "a=; Max-Age=0; Path=/services"], "a=1"),
        (["a=1; Max-Age=0", "a=2"], "a=2"),
        # Longer paths first, then the older one (5.4).
        (["a=1; Path=/", "a=2; Path=/services", "b=3; Path=/services"], "a=2; b=3; a=1"),
    ],
)
def test_each_line_stands_for_itself(lines: Sequence[str], returned: str | None) -> None:
    """A later one replaces or deletes one of the same name, path and domain (5.3)."""
    assert sent(*lines) == returned


def test_a_cookie_ends_when_it_says() -> None:
    """Max-Age counts for more than Expires, the last of each counts, and the answer's own time is now."""
    kept = {
        "Max-Age=1000": True,
        "max-age=0": False,
        "MAX-AGE=-5": False,
        "Max-Age=999999999999999999999": True,
        # What is no age, or no date, is as if it were not there (5.2.1, 5.2.2).
        "Max-Age=0x": True,
        "Max-Age=+0": True,
        "Max-Age=": True,
        "Expires=never": True,
        "Expires=Wed, 99 Oct 1999 07:28:00 GMT": True,
        "Expires=Wed, 21 Oct 1500 07:28:00 GMT": True,
        "Expires=Wed, 21 Oct 2999 07:28:00 GMT": True,
        "Expires=Wed, 21 Oct 2015 07:28:00 GMT": False,
        "Expires=Wed, 21-Oct-15 07:28:00 GMT": False,
        "Expires=Wed, 21-Oct-69 07:28:00 GMT": True,
        "Expires=Wed, 21-Oct-70 07:28:00 GMT": False,
        "Expires=2015 october 21 7:2:3": False,
        "Expires=Tue, 24 Nov 2026 23:59:00 GMT": False,
        "Expires=Wed, 25 Nov 2026 00:01:00 GMT": True,
        "Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60": True,
        "Max-Age=0; Max-Age=60": True,
    }

    assert {attributes: sent(f"a=1; {attributes}") is not None for attributes in kept} == kept


def test_a_cookie_goes_where_it_belongs() -> None:
    """Path, Domain and Secure say where (5.1.3, 5.1.4, 5.4)."""
    plain, plain_ack = URL.replace("https", "http"), ACK.replace("https", "http")
    goes = {
        ("", URL, ACK): True,
        ("Path=/", URL, ACK): True,
        ("Path=/services/collector", URL, ACK): True,
        ("Path=/services/collector/", URL, ACK): True,
        ("Path=/services/collector/event", URL, URL): True,
        ("Path=/services/collector/event", URL, ACK): False,
        ("Path=/serv", URL, ACK): False,
        ("Path=elsewhere", URL, ACK): True,
        ("Domain=splunk.example.com", URL, URL): True,
        ("Domain=.EXAMPLE.com", URL, URL): True,
        ("Domain=", URL, URL): True,
        ("Domain=other.com", URL, URL): False,
        ("Domain=ample.com", URL, URL): False,
        ("Domain=a.splunk.example.com", URL, URL): False,
        ("Secure", URL, URL): True,
        ("Secure", plain, plain_ack): False,
        ("", plain, plain_ack): True,
    }

    assert {
        (attributes, by, to): sent(f"a=1; {attributes}", by=by, to=to) is not None
        for attributes, by, to in goes
    } == goes


def test_there_is_an_end_to_what_is_kept() -> None:
    """Of more than servers take in one header, the newest stay."""
    assert sent(*_many(60, size=1)) == "; ".join(_many(60, size=1)[10:])
    assert len(sent(*_many(40, size=1000)) or "") < 8_000


def _many(count: int, size: int) -> list[str]:
    return [f"c{number}=" + "x" * size for number in range(count)]


@given(st.lists(st.text(st.characters(max_codepoint=0xFF))))
def test_no_line_breaks_out(lines: Iterable[str]) -> None:
    """Whatever an answer says, what goes back is one line."""
    assert not {"\r", "\n", "\0"} & set(sent(*lines) or "")
