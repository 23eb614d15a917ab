"""`siem publish`: what is valid reaches Redis, what is not is named, and nothing is lost in between."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import HOSTILE, denial
from tests.cli.running import Ran, call, in_terminal, run, start
from tests.fleet import Fleet, wait_until


@pytest.fixture
def empty(desk: Fleet) -> Fleet:
    """Give a fleet to whose stream no one has published yet."""
    desk.client.delete("siem:events")
    return desk


def test_a_file_is_published_line_by_line(empty: Fleet, tmp_path: Path) -> None:
    """Byte order mark, CRLF, blank lines and a missing last newline are no reason to refuse anything."""
    text = "\ufeff" + "\r\n\r\n  \n".join(json.dumps(denial(f"e{number}")) for number in range(3))
    (tmp_path / "events.jsonl").write_bytes(text.encode())
    ran = call(empty.environment, "publish", str(tmp_path / "events.jsonl"))

    assert ran.code == 0
    assert ran.out == "Published 3 events.\n"
    assert ran.err == ""
    assert [event["id"] for event in _published(empty)] == ["e0", "e1", "e2"]


def test_the_sum_stands_once_in_a_terminal(empty: Fleet, tmp_path: Path) -> None:
    """The bar, which shows the sum as it grows, is erased before the last line tells it."""
    (tmp_path / "events.jsonl").write_text(json.dumps(denial("e1")))
    environment = {**empty.environment, "TERM": "xterm"}
    ran = in_terminal(environment, "publish", str(tmp_path / "events.jsonl"), prompt="", answer=b"")
    *_, last = ran.out.split("\x1b[1A")

    assert ran.code == 0
    assert last.startswith("\x1b[2K")
    assert last.rstrip().endswith("Published 1 event.")


def test_standard_input_is_published(empty: Fleet) -> None:
    """- reads a pipe; an empty one is nothing to complain about."""
    piped = run(empty.environment, "publish", "-", stdin=json.dumps(denial("e1")).encode())

    assert piped.out == "Published 1 event.\n"
    assert _publish(empty, b"").out == "Published 0 events.\n"


def test_a_refused_line_is_named_and_the_rest_is_published(empty: Fleet) -> None:
    """Line, field, reason and remedy on stderr; the counts on stdout; exit code 2."""
    good = json.dumps(denial("e1")).encode()
    hostile = json.dumps(denial("e2") | {"type": HOSTILE}).encode()
    ran = _publish(empty, b"\n".join([good, b"{nonsense", b"\xff", hostile, good]), "--json")

    assert ran.code == 2
    reported = json.loads(ran.out)
    assert (reported["accepted"], reported["refused"]) == (2, 3)
    assert [(one["line"], one["id"], one["field"]) for one in reported["errors"]] == [
        (2, None, "event"),
        (3, None, "event"),
        (4, "e2", "type"),
    ]
    assert all(one["reason"] and one["hint"].startswith("give ") for one in reported["errors"])
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == ["line 2", "line 3", "line 4"]
    assert all(char.isprintable() for char in ran.err.replace("\n", ""))
    assert len(_published(empty)) == 2


def test_many_refusals_are_counted(empty: Fleet) -> None:
    """A file of another format is not repeated line by line."""
    ran = _publish(empty, b'{"id": "e1"}\n' * 1000)

    assert ran.code == 2
    assert ran.out == "Published 0 events, refused 1000.\n"
    assert ran.err.splitlines()[-1] == "… and 980 more lines refused"
    assert len(ran.err.splitlines()) == 21


def test_a_line_of_any_length_is_judged_by_its_length(empty: Fleet) -> None:
    """However long it is, it is refused with its true length, and what follows is published."""
    event = json.dumps(denial("e1")).encode()
    ran = _publish(empty, b" " * 3_000_000 + event + b"\n" + event + b"\n")

    assert ran.code == 2
    assert f"line 1: event: is {3_000_000 + len(event)} bytes long" in ran.err
    assert len(_published(empty)) == 1


def test_a_named_pipe_is_published(empty: Fleet, tmp_path: Path) -> None:
    """What can be read only once is read once: `siem publish <(command)` works."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=[json.dumps(denial("e1"))])
    writer.start()
    ran = run(empty.environment, "publish", str(pipe))
    writer.join()

    assert ran.out == "Published 1 event.\n"


def test_a_slow_pipe_is_published_as_it_comes_and_can_be_interrupted(empty: Fleet) -> None:
    """`tail -f | siem publish -` delays nothing; Ctrl-C ends it with 130, and it tells what was published."""
    with start(empty.environment, "publish", "-") as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(denial("e1")).encode() + b"\n")
        process.stdin.flush()
        wait_until(lambda: empty.client.xlen("siem:events") == 1, "the event is published at once")
        process.stdin.write(b"x\n")
        process.stdin.flush()
        # What comes behind an event is refused once that one is counted.
        assert process.stderr.readline().startswith(b"line 2: ")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=90)

        assert process.returncode == 130
        assert (out, err.strip()) == (b"", b"Interrupted; until then: Published 1 event, refused 1.")


def test_a_redis_that_takes_nothing_ends_it(empty: Fleet) -> None:
    """Exit code 3, and the line to go on from."""
    event = json.dumps(denial("e1")).encode()
    empty.client.config_set("maxmemory", 1)
    try:
        ran = _publish(empty, b"\n" + event + b"\n" + event)
    finally:
        empty.client.config_set("maxmemory", 0)

    assert ran.code == 3
    assert (
        "stopped at line 2 (0 events published): the event was not accepted: Redis is full" in ran.complaint
    )
    assert "publish again from that line on" in ran.complaint


def test_what_cannot_be_read_is_named(empty: Fleet) -> None:
    """A file that the system does not let us read is no crash."""
    ran = call(empty.environment, "publish", "/proc/self/mem")

    assert ran.code == 1
    assert "Input/output error" in ran.complaint


def _publish(fleet: Fleet, stdin: bytes, *arguments: str) -> Ran:
    return call(fleet.environment, "publish", "-", *arguments, stdin=stdin)


def _published(fleet: Fleet) -> list[dict[str, str]]:
    entries = fleet.client.xrange("siem:events")
    assert isinstance(entries, list)
    return [json.loads(fields[b"event"]) for _, fields in entries if fields]
