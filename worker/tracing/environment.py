"""The variables of OpenTelemetry's specification that we check before its SDK reads them.

The SDK passes over most of what is wrong, or says so in a log that is not watched: spans would silently be
missing. No value is repeated: an address may hold a password, headers do. So these are read here: the SDK
would log one that is wrong. As one of our own secrets they may stand in a file.
"""

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from worker.model.errors import InvalidSetting
from worker.secret_files import secret_in

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_FILES = tuple(
    f"OTEL_EXPORTER_OTLP_{signal}{file}"
    for signal in ("TRACES_", "")
    for file in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
)
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_HEADERS_FILE = "OTEL_EXPORTER_OTLP_HEADERS_FILE"
_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+=[ -~]+", re.ASCII)
_SAMPLER, _ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
_RATIOS = ("traceidratio", "parentbased_traceidratio")
_SAMPLERS = (
    *("always_on", "always_off", "parentbased_always_on", "parentbased_always_off"),
    *_RATIOS,
)


def is_disabled() -> bool:
    """Whether OTEL_SDK_DISABLED turns all of OpenTelemetry off."""
    return _value("OTEL_SDK_DISABLED").lower() == "true"


def check_environment() -> None:
    """Raise InvalidSetting for the first variable that is wrong, with the others."""
    wrong = list(_wrong())
    if wrong:
        first, *others = wrong
        raise InvalidSetting(first.field, first.reason, first.hint, others)


def collector_headers() -> dict[str, str]:
    """Return the headers that the collector wants. Raises InvalidSetting."""
    for name in _HEADERS:
        if (value := _value(name)) and _HEADERS_FILE in os.environ:
            raise InvalidSetting(
                _HEADERS_FILE, f"is set, and {name} as well", "set one of the two, and unset the other"
            )
        if value:
            return _headers(name, value)
    path = os.environ.get(_HEADERS_FILE)
    return {} if path is None else _headers(_HEADERS_FILE, secret_in(_HEADERS_FILE, path))


def _headers(name: str, text: str) -> dict[str, str]:
    found = {}
    for part in filter(None, map(str.strip, text.split(","))):
        header, _, value = map(str.strip, map(unquote, part.partition("=")))
        if not _HEADER.fullmatch(f"{header}={value}"):
            hint = "give name=value, several with commas between, in ASCII; %2C is a comma of a value"
            raise InvalidSetting(name, "holds what is no header", hint)
        found[header.lower()] = value
    return found


def _wrong() -> Iterator[InvalidSetting]:
    for name in _ENDPOINTS:
        if (value := _value(name)) and not _is_web_address(value):
            yield InvalidSetting(
                name, "is no address of a collector", "give one such as http://collector:4318"
            )
    for name in _PROTOCOLS:
        if _value(name).lower() not in {"", "http/protobuf"}:
            yield InvalidSetting(
                name,
                "names a protocol that is not spoken",
                "set it to http/protobuf, and use that port, 4318",
            )
    for name in _TIMEOUTS:
        if _value(name) and not 0 < _number(name) <= _LONGEST_TIMEOUT:
            yield InvalidSetting(name, "is no time", f"give seconds, up to {_LONGEST_TIMEOUT}")
    for name in _FILES:
        if (value := _value(name)) and not os.access(value, os.R_OK):
            yield InvalidSetting(name, "names a file that cannot be read", "give the path of a PEM file")
    if _value("OTEL_TRACES_EXPORTER").lower() not in {"", "otlp"}:
        yield InvalidSetting("OTEL_TRACES_EXPORTER", "names another exporter", "set it to otlp, or unset it")
    yield from _wrong_sampler()
    yield from _wrong_headers()


#: Of one export, in seconds; a longer one would keep newer spans waiting.
_LONGEST_TIMEOUT = 60


def _wrong_headers() -> Iterator[InvalidSetting]:
    try:
        collector_headers()
    except InvalidSetting as error:
        yield error


def _wrong_sampler() -> Iterator[InvalidSetting]:
    sampler = _value(_SAMPLER).lower()
    if sampler not in {"", *_SAMPLERS}:
        yield InvalidSetting(_SAMPLER, "names no sampler", f"give one of {', '.join(_SAMPLERS)}")
    if sampler in _RATIOS and not 0 <= _number(_ARGUMENT) <= 1:
        yield InvalidSetting(
            _ARGUMENT, "is no share of the traces", "give a number from 0 to 1, such as 0.01"
        )


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()


def _number(name: str) -> float:
    """Return the number that a variable holds; one that fits nowhere if it holds none, or no value."""
    try:
        return float(_value(name))
    except ValueError:
        return -1.0


def _is_web_address(text: str) -> bool:
    try:
        address = urlsplit(text)
        return address.scheme in {"http", "https"} and bool(address.hostname) and (address.port or 1) > 0
    except ValueError:
        return False
