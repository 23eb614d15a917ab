"""Turns what redis-py raises into errors of ours, with the cause and what a person can do about it.

The tables here are the one place that says what each refusal of Redis means, with a hint. Redis begins
its refusals with a code (its src/server.c, createSharedObjects); redis-py takes the code away where it has a
class for it, and a transaction or a script quotes it somewhere in its own words.
"""

import re

import redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
)

from worker.model.errors import BrokerFull, BrokerUnavailable
from worker.model.outages import OutageCause

FULL = (
    "Redis is full (maxmemory) and takes nothing new. Try again later: deliveries go on and free memory, and "
    "`siem status` shows whose backlog waits; or raise maxmemory"
)
TOO_FEW_REPLICAS = (
    "Redis takes nothing while too few replicas follow it (min-replicas-to-write): see that they run"
)

_Cause = OutageCause

_CLASSES: tuple[tuple[type[RedisError], OutageCause], ...] = (
    (AuthenticationError, _Cause.LOGIN_REFUSED),
    (NoPermissionError, _Cause.PERMISSION_DENIED),
    (BusyLoadingError, _Cause.STARTING),
    (ReadOnlyError, _Cause.READ_ONLY),
)
#: What stands somewhere in the words; the first counts.
_SAYINGS = tuple(
    (re.compile(words, re.IGNORECASE), cause)
    for words, cause in (
        (r"no space left on device", _Cause.DISK_FULL),
        (r"\bMISCONF\b", _Cause.DISK_FAILS),
        (r"\b(NOAUTH|WRONGPASS)\b|for 'auth' command", _Cause.LOGIN_REFUSED),
        # A script says it without a code; the last one is what Redis 6.2 says there.
        (r"\bNOPERM\b|ACL failure in script|user executing the script can't run", _Cause.PERMISSION_DENIED),
        (r"\bLOADING\b", _Cause.STARTING),
        (r"\b(READONLY|UNBLOCKED)\b", _Cause.READ_ONLY),  # a blocking read ends when a master is demoted
        (r"\bNOREPLICAS\b", _Cause.TOO_FEW_REPLICAS),
        (r"max number of clients", _Cause.TOO_MANY_CONNECTIONS),
        (r"DB index is out of range", _Cause.UNKNOWN_DATABASE),
        (r"certificate|\bssl\b", _Cause.TLS),
    )
)
_HINTS = {
    _Cause.UNREACHABLE: "see that it runs, and that SIEM_REDIS_URL names it",
    _Cause.DISK_FULL: "free some space on the disk of its append-only file: it takes no writes until then",
    _Cause.DISK_FAILS: "see its log, and the disk of its append-only file and its dump: it takes no writes "
    "until it can write there",
    _Cause.LOGIN_REFUSED: "see that SIEM_REDIS_URL has the right user and password",
    _Cause.PERMISSION_DENIED: "allow it to the user of SIEM_REDIS_URL (ACL SETUSER)",
    _Cause.STARTING: "wait until it has read its data",
    _Cause.TOO_MANY_CONNECTIONS: "raise maxclients, or find who holds the connections (CLIENT LIST)",
    _Cause.READ_ONLY: "nothing can be written to a replica: let SIEM_REDIS_URL name the master, or the "
    "sentinels that know it",
    _Cause.UNKNOWN_DATABASE: "correct the number of the database in SIEM_REDIS_URL",
    _Cause.TLS: "see ssl_ca_certs in SIEM_REDIS_URL, and the server's certificate",
}


def is_full(error: RedisError) -> bool:
    """Whether Redis refused for lack of memory; a transaction and a script say more than this."""
    return "command not allowed when used memory >" in str(error)


def broker_unavailable(error: RedisError) -> BrokerUnavailable:
    """Return what to raise: the cause, Redis's own words, and a hint."""
    if is_full(error):
        return BrokerFull(FULL)
    reason, cause = _reason(error), _cause(error)
    if cause is _Cause.TOO_FEW_REPLICAS:
        return BrokerUnavailable(TOO_FEW_REPLICAS, cause)
    if cause is _Cause.REFUSED:
        return BrokerUnavailable(f"Redis refuses: {reason}", cause)
    name = "that database of Redis" if cause is _Cause.UNKNOWN_DATABASE else "Redis"
    return BrokerUnavailable(f"{cause.of(name)} ({reason}): {_HINTS[cause]}", cause)


def _cause(error: RedisError) -> OutageCause:
    by_class = next((cause for kind, cause in _CLASSES if isinstance(error, kind)), None)
    said = next((cause for words, cause in _SAYINGS if words.search(str(error))), None)
    no_answer = isinstance(error, redis.ConnectionError | redis.TimeoutError)
    return by_class or said or (_Cause.UNREACHABLE if no_answer else _Cause.REFUSED)


def _reason(error: RedisError) -> str:
    """Return its words, less the command that redis-py quotes, and with it perhaps an event."""
    return re.sub(r"^Command # \d+ .* of pipeline caused error: ", "", str(error), flags=re.DOTALL)
