"""Escaping in CEF: the standard's own rules, byte by byte, and the traps of readers in the field."""

import pytest

from tests.formats.golden_events import queued
from worker.demo.samples import sample_lines
from worker.formats.cef_escaping import extension_value, header_value, one_line, shortened
from worker.formats.cef_keys import KEYS
from worker.formats.syslog import SyslogCefFormat


@pytest.mark.parametrize(
    ("text", "in_header", "in_extension"),
    [
        ("a|b", r"a\|b", "a|b"),
        ("a\\b", r"a\\b", r"a\\b"),
        ("a=b", "a=b", r"a\=b"),
        ("a\nb", "a b", r"a\nb"),
        ("a\r\nb", "a b", r"a\nb"),
        ("a\rb", "a b", r"a\nb"),
        ("a\n\nb", "a b", r"a\n\nb"),
        ("a\tb", "a b", "a b"),
        ("a\0\x01b", "a b", "a  b"),
        ("a\x7fb", "a b", "a b"),
        ("a\x85b", "a b", r"a\nb"),
        ("a\x9bb", "a b", "a b"),
        ("a\u2028b", "a b", r"a\nb"),
        ("a\u2029b", "a b", r"a\nb"),
        ("a\v\fb", "a b", r"a\n\nb"),
        ("a\x1cb", "a b", "a b"),
        (r"a\|b", r"a\\\|b", r"a\\|b"),
        (r"a\=b", r"a\\=b", r"a\\\=b"),
        (r"a\n", r"a\\n", r"a\\n"),
        ("\\", "\\\\", "\\\\"),
        ("=", "=", "\\="),
        ("  a  ", "a", "a"),
        ("\n a \x00\n", "a", "a"),
        ("\n", "", ""),
        ("é経🚀", "é経🚀", "é経🚀"),
    ],
)
def test_escaping(text: str, in_header: str, in_extension: str) -> None:
    """CEF standard, "Character Encoding": pipes in the header, equals signs in values, backslashes."""
    assert header_value(text, 512) == in_header
    assert extension_value(text, 512) == in_extension


def test_the_verified_vector() -> None:
    """Field by field, bytes that a reader written from the standard was seen to take apart."""
    message = "path=C:\\tmp act=allow | pipe\nsecond line é"

    assert header_value("Block | prod DB\nwrites", 512) == r"Block \| prod DB writes"
    assert extension_value("sha256:ab==", 4000) == r"sha256:ab\=\="
    assert extension_value(message, 1023) == r"path\=C:\\tmp act\=allow | pipe\nsecond line é"


@pytest.mark.parametrize("write", [header_value, extension_value])
def test_the_length_is_that_of_the_raw_value(write: object) -> None:
    """Values are cut by characters before they are escaped, so no cut lies inside an escape."""
    assert callable(write)

    assert write("é" * 9, 8) == "é" * 8
    assert write("\\" * 9, 8) == "\\\\" * 8
    assert write("abc   def", 5) == "abc"
    assert write("   abc", 3) == "abc"


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029])
def test_no_control_character_comes_out(code: int) -> None:
    """What ends a line or a message somewhere goes nowhere."""
    text = f"a{chr(code)}b{chr(code)}"

    assert chr(code) not in one_line(text) + header_value(text, 9) + extension_value(text, 9)


@pytest.mark.parametrize(
    ("escaped", "size", "cut"),
    [
        ("abc", 3, b"abc"),
        ("abc", 2, b"ab"),
        ("é🚀", 2, "é".encode()),
        ("é🚀", 5, "é".encode()),
        ("é🚀", 6, "é🚀".encode()),
        (r"a\=b", 2, b"a"),
        (r"a\=b", 3, rb"a\="),
        (r"\\\\", 3, rb"\\"),
        (r"\\\=", 3, rb"\\"),
        ("a b", 2, b"a"),
        (r"a\n\n b", 6, b"a"),
        (r"a\\n b", 5, rb"a\\n"),
        (r"a\\\n b", 6, rb"a\\"),
        ("🚀", 3, b""),
    ],
)
def test_escaped_text_is_cut_between_characters_and_escapes(escaped: str, size: int, cut: bytes) -> None:
    """Half an escape would take the next character with it; half a character is no UTF-8."""
    assert shortened(escaped, size) == cut


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
