"""Text for people: nothing hides in it, and where it is cut, it says so."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.untrusted_text import MARK, in_one_line, plain, shortened


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
