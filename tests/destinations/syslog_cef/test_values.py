"""Escaping in CEF: the standard's own rules, byte by byte, and the traps of readers in the field."""

from json import loads

from tests.destinations.golden_events import queued
from tests.destinations.hostile_events import MISLEADING
from worker.destinations.syslog_cef.mapping import KEYS
from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.destinations.syslog_cef.values import (
    cut_escaped,
    extension_value,
    header_value,
    one_line,
    plain_json,
)
from worker.samples import sample_lines


def test_escaping() -> None:
    """CEF standard, "Character Encoding": pipes in the header, equals signs in values, backslashes."""
    escaped = {
        "a|b": (r"a\|b", "a|b"),
        "a\\b": (r"a\\b", r"a\\b"),
        "a=b": ("a=b", r"a\=b"),
        "a\nb": ("a b", r"a\nb"),
        "a\r\nb": ("a b", r"a\nb"),
        "a\rb": ("a b", r"a\nb"),
        "a\n\nb": ("a b", r"a\n\nb"),
        "a\tb": ("a b", "a b"),
        "a\0\x01b": ("a b", "a  b"),
        "a\x7fb": ("a b", "a b"),
        "a\x85b": ("a b", r"a\nb"),
        "a\x9bb": ("a b", "a b"),
        "a\u2028b": ("a b", r"a\nb"),
        "a\u2029b": ("a b", r"a\nb"),
        "a\v\fb": ("a b", r"a\n\nb"),
        "a\x1cb": ("a b", "a b"),
        r"a\|b": (r"a\\\|b", r"a\\|b"),
        r"a\=b": (r"a\\=b", r"a\\\=b"),
        r"a\n": (r"a\\n", r"a\\n"),
        "\\": ("\\\\", "\\\\"),
        "=": ("=", "\\="),
        "  a  ": ("a", "a"),
        "\n a \x00\n": ("a", "a"),
        "\n": ("", ""),
        "a\u202eb\u2069c": ("a b c", "a b c"),
        "\ufeffa\ufeff": ("a", "a"),
        "é経🚀": ("é経🚀", "é経🚀"),
    }

    assert {text: (header_value(text), extension_value(text)) for text in escaped} == escaped


def test_the_verified_vector() -> None:
    """Field by field, bytes that a reader written from the standard was seen to take apart."""
    message = "path=C:\\tmp act=allow | pipe\nsecond line é"

    assert header_value("Block | prod DB\nwrites") == r"Block \| prod DB writes"
    assert extension_value("sha256:ab==") == r"sha256:ab\=\="
    assert extension_value(message) == r"path\=C:\\tmp act\=allow | pipe\nsecond line é"


def test_no_control_character_comes_out() -> None:
    """What ends a line or a message somewhere goes nowhere, nor does what turns the text around."""
    codes = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *map(ord, sorted(MISLEADING))]
    for character in map(chr, codes):
        text = f"a{character}b{character}"
        json = f'{{"a{character}":"{character}b"}}'

        written = one_line(text) + header_value(text) + extension_value(text) + plain_json(json)
        assert character not in written, ascii(character)
        if character >= " ":
            assert loads(plain_json(json)) == loads(json), ascii(character)


def test_escaped_text_is_cut_between_characters_and_escapes() -> None:
    """Half an escape would take the mark with it; half a character is no UTF-8."""
    cut = {
        ("abc", 3): "abc",
        ("abcd", 3): "…",
        ("abcde", 4): "a…",
        ("éé🚀", 5): "é…",
        ("éé🚀", 7): "éé…",
        ("éé🚀", 8): "éé🚀",
        (r"a\=bcde", 5): "a…",
        (r"a\=bcde", 6): r"a\=…",
        (r"\\\\\\", 5): r"\\…",
        (r"\\\=bcd", 6): r"\\…",
        ("a bcde", 5): "a…",
        (r"a\n\n bcd", 8): "a…",
        (r"a\\n bcd", 7): r"a\\n…",
        (r"a\\\n bc", 7): r"a\\…",
        ("🚀🚀", 4): "…",
    }

    assert {(escaped, size): cut_escaped(escaped, size) for escaped, size in cut} == cut
    assert [case for case, text in cut.items() if len(text.encode()) > case[1]] == []


def test_traps_of_readers() -> None:
    r"""What Elastic and Logstash stumble over is in no message of the samples.

    Elastic drops a field with `\|` in it; a byte order mark hides `CEF:`; a tab separates nothing.
    """
    messages = SyslogCefFormat.of(
        facility="local0", header="rfc5424", hostname="mitrity", send_src=True, limit=8000
    ).messages([queued(line) for line in sample_lines(400)])

    for message in messages:
        _header, found, extension = message.partition(b"|rt=")
        assert found
        assert b"\\|" not in extension
        assert b"\xef\xbb\xbf" not in message
        assert not set(message) & {*range(0x20), 0x7F}


def test_every_custom_key_has_a_label() -> None:
    """Vector's reader fails on a custom field without a label; a label never goes without its field."""
    customs = [key for key in KEYS if key.name.startswith(("cs", "cn", "cfp"))]

    assert [key.lead for key in customs[:2]] == [" cs1Label=driftScore cs1=", " cfp1Label=driftScore cfp1="]
    assert all(key.label for key in customs)
