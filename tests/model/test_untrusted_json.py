"""An event as text: every byte of it is shown, and what a person corrects of it is still JSON."""

import json

import pytest

from worker.model.untrusted_json import MOST_INDENTED, payload_text


@pytest.mark.parametrize(
    "said",
    [
        '"decision": "deny"',
        '"decision": "allow"',
        "0.123456789012345678901",
        "1e400",
        "9" * 5000,
        r'"caf\u00e9"',
        '"名前"',
    ],
)
def test_nothing_that_was_published_is_left_out_or_rounded(said: str) -> None:
    """Of two members of one name, both are shown: readers of JSON go by the first or the last of them."""
    payload = (
        '{"decision":"deny","a":0.123456789012345678901,"b":1e400,"c":%s,"d":"caf\\u00e9","e":"名前",'
        '"decision":"allow"}'
    )

    assert said in payload_text((payload % ("9" * 5000)).encode())


@pytest.mark.parametrize("char", ["\u00a0", "\u202e", "\x7f", "\U000e0001"])
@pytest.mark.parametrize("end", ["}", ""])
def test_what_cannot_be_printed_stands_by_its_code_of_json(char: str, end: str) -> None:
    """In JSON that is cut off too: completed, it is the event as it was."""
    text = payload_text(f'{{"a":"{char}"{end}'.encode())

    assert text.replace("\n", "").isprintable()
    assert json.loads(text if end else text + "}") == {"a": char}


def test_line_breaks_of_what_is_no_json_stay() -> None:
    """Outside of texts a code is no JSON."""
    assert payload_text(b'{\r\n\t"a":1\r\n') == '{\n\t"a":1\n'


def test_indents_never_make_an_event_too_long() -> None:
    """As those of a long list that is nested deeply would."""
    deep = b"[" * 400 + b"0," * 20_000 + b"0" + b"]" * 400
    long = b'{"a":[' + b"0," * MOST_INDENTED + b"0]}"

    assert payload_text(deep).encode() == deep
    assert payload_text(long).encode() == long


def test_what_is_no_utf8_is_shown_and_is_no_json() -> None:
    """It is not published by mistake."""
    text = payload_text(b'{"a":"\xff"}')

    assert text == r'{"a":"\xff"}'
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
