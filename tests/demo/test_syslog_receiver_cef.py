"""What the demonstration's receiver makes of CEF, rule by rule."""

from worker.demo.syslog_receiver import cef_event_id

_START = "<134>Jan  2 03:04:05 host CEF:0|a|b|1|c|d|2|"


def test_the_id_is_read() -> None:
    """ArcSight CEF standard, "Header" and "Extension": escapes are undone, the unshortened key goes first."""
    expected = {
        _START + "externalId=evt_1": "evt_1",
        _START + "rt=1 externalId=evt_1 devicePayloadId=evt_12 msg=x": "evt_12",
        _START + r"externalId=a\=b\\n\n|c": "a=b\\n\n|c",
        _START + r"msg=a externalId\=evt_2 externalId=evt 1": "evt 1",
        _START + "externalId=évt": "évt",
        r"<0>1 - - - - - - CEF:1|a|b\|\\|1|c|d=e|2|externalId=evt_1": "evt_1",
    }

    assert {message: cef_event_id(message.encode()) for message in expected} == expected


def test_a_broken_rule_is_seen() -> None:
    """No id is read from what a parser in the field might read in another way."""
    broken = [
        b"",
        b"CEF:0|a|b|1|c|d|2|externalId=evt_1",
        b"<192>Jan  2 03:04:05 host CEF:0|a|b|1|c|d|2|externalId=evt_1",
        b"<01>Jan  2 03:04:05 host CEF:0|a|b|1|c|d|2|externalId=evt_1",
        b"<134>Jan  2 03:04:05 host CEF:0|a|b|1|c|d|externalId=evt_1",
        b"<134>Jan  2 03:04:05 host LEEF:1.0|a|b|1|c|d|2|externalId=evt_1",
        rb"<134>Jan  2 03:04:05 host CEF:0|a\=|b|1|c|d|2|externalId=evt_1",
        _START.encode(),
        _START.encode() + b"text",
        _START.encode() + b"rt=1",
        _START.encode() + b"externalId=",
        _START.encode() + rb"externalId=evt_1 msg=a\|b",
        _START.encode() + rb"externalId=evt_1 msg=a\tb",
        _START.encode() + b"externalId=evt_1 msg=a==b",
        _START.encode() + b"externalId=evt_1 msg=a externalId=evt_2",
        _START.encode() + b"externalId=evt_1 msg=a\nb",
        _START.encode() + b"externalId=evt_\xe9",
    ]

    assert {message: cef_event_id(message) for message in broken} == dict.fromkeys(broken)
