"""The answer of Splunk's HTTP Event Collector, read: its fields, its text, how long it asks to wait."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from worker.model.untrusted_text import shortened

#: What is shown of the words and of the code of an answer that is not as documented, in characters.
_MOST_WORDS, _MOST_DIGITS = 200, 20


def answer_fields(body: bytes) -> dict[str, Any]:
    """Return the members of the JSON object; empty if it is none."""
    try:
        answer = json.loads(_text(body))
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _text(body: bytes) -> str:
    """Decode as JSON is (RFC 8259, 8.1; a mark of byte order is left out); what cannot be is replaced."""
    try:
        return body.decode(json.detect_encoding(body))
    except UnicodeDecodeError:
        return body.decode(errors="replace")


def whole_number(value: Any) -> int | None:
    """Return a whole number, and None for whatever else JSON may bring, True and 0.0 included."""
    return value if type(value) is int else None


def answer_text(status: int, answer: dict[str, Any]) -> str:
    """Return status, text and code of the answer in words, shortened."""
    if "code" not in answer:
        return f"HTTP {status} with an answer that is not Splunk's"
    text = shortened(str(answer.get("text", "")), _MOST_WORDS)
    words = f"HTTP {status}: {text} (code {shortened(str(answer['code']), _MOST_DIGITS)})"
    return words.encode(errors="replace").decode()  # JSON may bring lone surrogates, which nothing can store


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After (RFC 9110 section 10.2.3): seconds, or an HTTP date."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal() and text.isascii():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
