"""Channels on which Splunk counts requests for acknowledgement; cookies that lead to their indexer.

A sending borrows one channel for as long as it lasts. Splunk numbers the requests of each channel from 0,
every indexer by itself, so a channel is never shared, and is not used again once anything on it stayed
without its confirmation: a late one could be taken for that of a request with the same number.

Cookies as RFC 6265 has user agents keep them: Set-Cookie lines come in, Cookie headers go out.

What a load balancer puts into its cookie is opaque: everything between the first `=` and the first `;` goes
back as it came, quotes included (5.2). Pure; a wall clock is asked only where an answer had no date.
"""

import contextlib
import re
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

#: RFC 6265, 6.1, asks for as many cookies of one host, and for as many bytes of each, as these.
_MOST_COOKIES = 50
_LONGEST_COOKIE = 4096
#: Servers commonly refuse a header that is longer, in bytes.
_LONGEST_HEADER = 8000

#: What no header can carry: a cookie with such a character is ignored, never altered.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BLANKS = " \t"
_MAX_AGE = re.compile(r"-?[0-9]+")
#: RFC 6265, 5.1.1: what separates the parts of a date, and the parts themselves, in any order.
_DELIMITERS = re.compile(r"[\t\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?!\d)")
_DAY = re.compile(r"(\d{1,2})(?!\d)")
_YEAR = re.compile(r"(\d{2,4})(?!\d)")
_PARTS = ("year", "month", "day", "time")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIRST_YEAR = 1601
_OLDEST_SHORT_YEAR = 70


@dataclass(frozen=True, slots=True)
class _Cookie:
    name: str
    value: str
    domain: str
    path: str
    is_secure: bool
    #: Monotonic seconds; None for as long as the jar is kept.
    ends: float | None


class CookieJar:
    """The cookies of one host: what it set is sent back to it. Not for several threads at once."""

    def __init__(self) -> None:
        """Begin without any."""
        self._cookies: dict[tuple[str, str, str], _Cookie] = {}

    def keep(self, lines: Iterable[str], url: str, date: float | None = None) -> None:
        """Keep, replace or delete cookies as each Set-Cookie line of an answer from the url says.

        `date` is the answer's own time (seconds since 1970 UTC): Expires is counted from it, so that a wrong
        clock on this machine ends no session. A line that is no cookie is ignored, and so is one for another
        host, or one that is longer than 4096 characters.
        """
        now = time.time() if date is None else date
        for line in lines:
            cookie = _parsed(line, url, now)
            if cookie is None:
                continue
            key = (cookie.name, cookie.domain, cookie.path)
            if _is_over(cookie):
                self._cookies.pop(key, None)
            else:
                self._cookies[key] = cookie
        self._shrink()

    def header(self, url: str) -> dict[str, str]:
        """Return the Cookie header for a request to the url; nothing where there is no cookie for it."""
        self._cookies = {key: cookie for key, cookie in self._cookies.items() if not _is_over(cookie)}
        fitting = [cookie for cookie in self._cookies.values() if _is_for(cookie, url)]
        fitting.sort(key=lambda cookie: -len(cookie.path))  # RFC 6265, 5.4: longer paths first, else by age
        pairs = "; ".join(f"{cookie.name}={cookie.value}" for cookie in fitting)
        return {"Cookie": pairs} if pairs else {}

    def _shrink(self) -> None:
        """Let go of the oldest where there are more, or longer ones, than servers take."""
        sizes = [len(cookie.name) + len(cookie.value) + 3 for cookie in self._cookies.values()]
        while len(sizes) > _MOST_COOKIES or sum(sizes) > _LONGEST_HEADER:
            del self._cookies[next(iter(self._cookies))], sizes[0]


def _parsed(line: str, url: str, now: float) -> _Cookie | None:
    """Read one line (RFC 6265, 5.2) and give the cookie its scope (5.3); None for what is to be ignored."""
    pair, *attributes = line.split(";")
    name, equals, value = (part.strip(_BLANKS) for part in pair.partition("="))
    if not equals or not name or len(line) > _LONGEST_COOKIE or _CONTROLS.search(line):
        return None
    values = dict(_attribute(attribute) for attribute in attributes)
    parts = urlsplit(url)
    host = parts.hostname or ""
    domain = values.get("domain", "").removeprefix(".").lower()
    if domain and host != domain and not host.endswith(f".{domain}"):
        return None
    path = values.get("path", "")
    return _Cookie(
        name,
        value,
        domain,
        path if path.startswith("/") else _default_path(parts.path),
        "secure" in values,
        _end(values, now),
    )


def _attribute(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(_BLANKS).lower(), value.strip(_BLANKS)


def _end(values: dict[str, str], now: float) -> float | None:
    """Return when it is over; Max-Age counts for more than Expires (RFC 6265, 5.3)."""
    age = values.get("max-age", "")
    if _MAX_AGE.fullmatch(age):
        return time.monotonic() + float(age[:12])
    moment = _moment(values.get("expires", ""))
    return None if moment is None else time.monotonic() + moment - now


def _moment(text: str) -> float | None:
    """Read a date as leniently as RFC 6265, 5.1.1, wants; None where there is none."""
    found: dict[str, tuple[int, ...]] = {}
    for token in _DELIMITERS.split(text):
        if "time" not in found and (match := _TIME.match(token)):
            found["time"] = tuple(map(int, match.groups()))
        elif "day" not in found and (match := _DAY.match(token)):
            found["day"] = (int(match[1]),)
        elif "month" not in found and token[:3].lower() in _MONTHS:
            found["month"] = (_MONTHS.index(token[:3].lower()) + 1,)
        elif "year" not in found and (match := _YEAR.match(token)):
            found["year"] = (_full_year(int(match[1])),)
    try:
        (year,), (month,), (day,), (hour, minute, second) = (found[part] for part in _PARTS)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except (KeyError, ValueError):
        return None
    return moment.timestamp() if moment.year >= _FIRST_YEAR else None


def _full_year(year: int) -> int:
    if year < _OLDEST_SHORT_YEAR:
        return year + 2000
    return year + 1900 if year < 100 else year  # noqa: PLR2004 - two digits


def _default_path(path: str) -> str:
    """RFC 6265, 5.1.4: up to the last slash."""
    return path.rpartition("/")[0] or "/"


def _is_over(cookie: _Cookie) -> bool:
    return cookie.ends is not None and cookie.ends <= time.monotonic()


def _is_for(cookie: _Cookie, url: str) -> bool:
    parts = urlsplit(url)
    path = parts.path or "/"
    below = path == cookie.path or path.startswith(cookie.path.rstrip("/") + "/")
    return below and (parts.scheme == "https" or not cookie.is_secure)


@dataclass(slots=True)
class Channel:
    """One client in the eyes of Splunk: `id` is a GUID, `unconfirmed` counts requests; `spent` takes no more.

    `cookies` are those by which a load balancer leads every request of the channel to the same indexer, the
    only one that knows its numbers.
    """

    id: str = field(default_factory=lambda: str(uuid.uuid4()).upper())
    cookies: CookieJar = field(default_factory=CookieJar)
    unconfirmed: int = 0
    spent: bool = False


class Channels:
    """The channels of one sender: as many as it had sendings at once. Shared by a process's threads."""

    def __init__(self) -> None:
        """Begin without any; the first is made when it is needed."""
        self._lock = threading.Lock()
        self._free: list[Channel] = []

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Channel]:
        """Lend a channel that no other thread uses meanwhile."""
        with self._lock:
            channel = self._free.pop() if self._free else Channel()
        yield channel
        if not channel.spent and not channel.unconfirmed:
            with self._lock:
                self._free.append(channel)
