"""The reader that judges us is strict: it takes the standard's examples, and nothing that breaks a rule."""

from tests.destinations.syslog_cef.cef_parser import NotCef, parse_cef

HEAD = b"CEF:0|MITRITY|MITRITY Platform|1.0|policy.deny|Name|8|"


def test_it_takes_what_the_standard_writes() -> None:
    """CEF standard, "Character Encoding": its own examples of escapes, with keys of ours."""
    read = parse_cef(
        rb"CEF:0|security|threatmanager|1.0|100|detected a \| in \\ packet|10|"
        rb"src=10.0.0.1 act=blocked a | \= \\ msg=Detected.\nNo action"
    )

    assert read.vendor == "security"
    assert read.name == r"detected a | in \ packet"
    assert read.severity == 10
    assert read.extension == {"src": "10.0.0.1", "act": "blocked a | = \\", "msg": "Detected.\nNo action"}
    assert parse_cef(HEAD).extension == {}


def test_it_refuses_what_breaks_a_rule() -> None:
    """Each of these is misread by some product."""
    headers = (
        *(b"CEF:1|v|p|1|c|n|8|", b"\xef\xbb\xbf" + HEAD, b"CEF:0|v|p|1|c|n|8", b"CEF:0|v|p|1|c||8|"),
        *(b"CEF:0|v|p|1|c|n|High|", b"CEF:0|v|p|1|c|n|11|", rb"CEF:0|v|p|1|c|n\=|8|"),
        b"CEF:0|v|p|1|c|" + b"n" * 513 + b"|8|",
    )
    extensions = (
        *(rb"act=a\|b", b"act=", b"act= suid=a", b"act=a  suid=a", b"act=a ", b" act=a", b"act=a act=b"),
        *(b"act=a b=c", b"act=a=b", b"a", b"act=a\nsuid=b", b"act=a\tb", "act=a\u2028b".encode(), b"act=a\\"),
        *(rb"act=a\t", b"act=" + b"a" * 64, b"cs1=0.5", b"cs1Label=score", b"rt=2026-01-02T03:04:05Z"),
    )

    assert [message for message in (*headers, *map(HEAD.__add__, extensions)) if _is_cef(message)] == []


def _is_cef(message: bytes) -> bool:
    try:
        parse_cef(message)
    except NotCef:
        return False
    return True
