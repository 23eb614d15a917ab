"""Reading `traceparent`: the grammar of W3C Trace Context, and what publishers send beside it."""

from hypothesis import given
from hypothesis import strategies as st

from worker.model.trace_context import LONGEST, TraceContext, of_one_trace, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTEXT = TraceContext(bytes.fromhex(TRACE), bytes.fromhex(SPAN))


def test_what_is_well_formed_is_read() -> None:
    """Version 00, flags beside the one that is known, and what later versions put behind it."""
    read = {
        f"00-{TRACE}-{SPAN}-01": CONTEXT,
        f"00-{TRACE}-{SPAN}-00": CONTEXT._replace(sampled=False),
        f"00-{TRACE}-{SPAN}-ff": CONTEXT,
        f"00-{TRACE}-{SPAN}-fe": CONTEXT._replace(sampled=False),
        f"cc-{TRACE}-{SPAN}-01": CONTEXT,
        f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like": CONTEXT,
    }

    assert {text: parse_traceparent(text.encode()) for text in read} == read


def test_what_is_malformed_counts_as_not_given() -> None:
    """No error, whatever it is; and nothing long is looked at."""
    malformed = [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"cc-{TRACE}-{SPAN}-01-{'x' * LONGEST}",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\0",
        "0" * 2_000_000,
    ]

    assert [parse_traceparent(text.encode()) for text in malformed] == [None] * len(malformed)


@given(st.binary(max_size=400))
def test_no_bytes_are_an_error(value: bytes) -> None:
    """They are those of whoever may publish."""
    found = parse_traceparent(value)
    assert found is None or (len(found.trace_id), len(found.span_id)) == (16, 8)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.booleans())
def test_what_is_written_is_read(trace_id: bytes, span_id: bytes, sampled: bool) -> None:  # noqa: FBT001 - drawn
    """As long as neither id is all zeros, which names nothing."""
    context = TraceContext(trace_id, span_id, sampled)
    assert parse_traceparent(context.header()) == (context if any(trace_id) and any(span_id) else None)


def test_several_are_of_one_trace_or_not() -> None:
    """The first stands for all of its trace."""
    sibling, stranger = CONTEXT._replace(span_id=b"s" * 8), CONTEXT._replace(trace_id=b"t" * 16)

    assert of_one_trace([CONTEXT, sibling]) == CONTEXT
    assert of_one_trace([CONTEXT, stranger]) is None
    assert of_one_trace([]) is None
