"""Where Redis is: one server, or the sentinels that know which of several servers is the master.

In comes the URL of SIEM_REDIS_URL; out comes what a client has to know. No message repeats the URL: it may
hold a password.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from worker.model.errors import InvalidSetting
from worker.model.untrusted_text import number_in

#: What an address of sentinels looks like.
SENTINEL_EXAMPLE = "sentinel://:password@host1:26379,host2:26379,host3:26379/0?service=mymaster"

_SINGLE = ("redis", "rediss")
_SENTINEL = ("sentinel", "sentinels")
_SENTINEL_PORT = 26379
_SECRETS = ("sentinel_username", "sentinel_password")
_TLS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


class NoRedisNamed(InvalidSetting):
    """No setting names a Redis, and no embedded one was started: there is none to be used."""


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """The sentinels, the name of the service that they watch, and how to sign in to either.

    `tls` holds redis-py's options, such as `ssl_ca_certs`; it is empty where nothing is encrypted.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: Mapping[str, str] = field(default_factory=dict)


def check_address(url: str) -> None:
    """Raise ValueError, which says what would be right, unless the URL is an address of Redis."""
    parts = _split(url)
    if not url.startswith(tuple(f"{scheme}://" for scheme in (*_SINGLE, *_SENTINEL))):
        msg = f"must begin with redis://, rediss://, sentinel:// or sentinels://, like {SENTINEL_EXAMPLE}"
        raise ValueError(msg)
    if parts.scheme in ("rediss", "sentinels") and parse_qs(parts.query).get("ssl_cert_reqs") != ["required"]:
        msg = "must say ?ssl_cert_reqs=required (and ssl_ca_certs=/path): without it nothing is verified"
        raise ValueError(msg)
    sentinel_address(url)


def sentinel_address(url: str) -> SentinelAddress | None:
    """Read an address of sentinels; None if it names one server.

    Raises ValueError as `check_address` does.
    """
    parts = _split(url)
    if parts.scheme not in _SENTINEL:
        return None
    options = _options(parts)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    return SentinelAddress(
        tuple(_host(one) for one in hosts.split(",")),
        options["service"],
        _database(parts.path),
        unquote(username) or None,
        unquote(password) or None,
        options.get("sentinel_username"),
        options.get("sentinel_password"),
        {name: options[name] for name in _TLS if name in options},
    )


def place(url: str) -> str:
    """Return where Redis is, without secrets: `host:port`, or the service and its sentinels."""
    found = sentinel_address(url)
    if found is not None:
        return f"{found.service} of sentinels {', '.join(f'{host}:{port}' for host, port in found.hosts)}"
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its message would repeat a part of the URL
        msg = f"is no URL, like redis://default:password@host:6379/0 or {SENTINEL_EXAMPLE}"
        raise ValueError(msg) from None


def _options(parts: SplitResult) -> dict[str, str]:
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if "service" not in given:
        msg = f"must name the service that the sentinels watch: ?service=mymaster, as in {SENTINEL_EXAMPLE}"
        raise ValueError(msg)
    known = ("service", *_SECRETS, *(_TLS if parts.scheme == "sentinels" else ()))
    for name in given:
        if name not in known:
            msg = f"has an option that {parts.scheme}:// does not know; there are: {', '.join(known)}"
            raise ValueError(msg)
    return given


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text.strip()}")
        if parts.hostname:
            return parts.hostname, parts.port or _SENTINEL_PORT
    except ValueError:  # no port, or no address
        pass
    msg = f"must name the sentinels as host:port, separated by commas, as in {SENTINEL_EXAMPLE}"
    raise ValueError(msg)


def _database(path: str) -> int:
    text = path.strip("/") or "0"
    number = number_in(text) if text.isascii() else None
    if number is None:
        msg = f"must have the database's number for a path, like /0, as in {SENTINEL_EXAMPLE}"
        raise ValueError(msg)
    return number
