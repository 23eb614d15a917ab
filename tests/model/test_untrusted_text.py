"""Text of others: nothing hides in it, a cut shows, and no number in it ends in an error of Python's own."""

import re

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from worker.broker import keys
from worker.broker.chunks import StoredChunk
from worker.broker.clocks import ingress_ids
from worker.broker.deletions import DeletedKeys
from worker.integrations.urls import host_error
from worker.model.redis_address import check_address
from worker.model.untrusted_text import MARK, in_one_line, number_in, plain, shortened


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("a  bc", 4, "a…"),
        ("abc", 1, "…"),
        ("", 1, ""),
        ("é🚀🚀", 2, "é…"),
    ],
)
def test_what_is_cut_says_so(text: str, most: int, shown: str) -> None:
    """The mark counts: no more characters than asked for, and no blank before it."""
    assert shortened(text, most) == shown


@given(st.text(), st.integers(1, 20))
def test_a_text_is_whole_or_ends_in_the_mark(text: str, most: int) -> None:
    """Whatever it holds."""
    shown = shortened(text, most)

    assert len(shown) <= most
    assert shown == text or (shown.endswith(MARK) and text.startswith(shown.removesuffix(MARK)))


@given(st.text(st.sampled_from(" \t\n\r\v\u2028a"), max_size=12))
def test_a_line_break_takes_the_white_space_around_it_along(text: str) -> None:
    """However they are mixed; other white space stays, as itself or as a code."""
    shown = in_one_line(f"a{text}\v")

    assert shown == plain(re.sub(r"[ \t]*[\r\n]\s*", " ", f"a{text}".rstrip()))


#: More digits than Python reads (`sys.get_int_max_str_digits`).
LONG = "9" * 5000


#: Texts, and the number that each is.
NUMBERS: list[tuple[str | bytes, int | None]] = [
    ("0", 0),
    ("007", 7),
    ("9" * 18, 10**18 - 1),
    (b"12", 12),
    ("9" * 19, None),
    (LONG, None),
    ("0" * 5000, None),
    ("", None),
    (b"", None),
    ("-1", None),
    ("1.0", None),
    ("²", None),
    (b"\xb2", None),
]


def test_a_number_stands_in_digits_alone() -> None:
    """And in no more of them than always fit into 64 bits."""
    assert [(text, number_in(text)) for text, _ in NUMBERS] == NUMBERS


def test_a_host_of_too_many_digits_is_no_address() -> None:
    """It once ended in Python's words, which name no field."""
    for host in (LONG, f"1.2.3.{LONG}", f"127.{LONG}"):
        assert "no IPv4 address" in str(host_error(f"https://{host}/"))


def test_a_database_of_too_many_digits_is_refused_as_any_other_mistake() -> None:
    """In words of ours."""
    with pytest.raises(ValueError, match="must have the database's number"):
        check_address(f"sentinel://one/{LONG}?service=mymaster")


def test_what_stands_in_redis_is_damage_like_any_other(client: redis.Redis) -> None:
    """The number of a slot in the name of its key, of the events in a chunk, and a time."""
    client.xadd(keys.EVENTS, {"event": "{}"})
    client.set(keys.RENUMBERED, f"{LONG} 1-0")
    client.hset(f"{keys.SLOT_PREFIX}a:{LONG}", "state", "free")

    assert ingress_ids(client).repaired_ms is None
    assert DeletedKeys(client).leftovers([]) == {"a": 0}
    assert StoredChunk("urgent", b"1-0", [b"n", LONG.encode()]).count is None
