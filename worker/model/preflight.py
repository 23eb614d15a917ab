"""Whether an installation is fit for production: what was asked of Redis and the database, judged. Pure.

Input: what the servers say. Output: a check for each thing that the guide for production asks for, beside
those that `worker.model.redis_checks` makes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from worker.model.clocks import ALARMING_SKEW, TELLING_SKEW
from worker.model.ingress_checks import CheckStatus, RedisCheck, unknown
from worker.model.time import span

#: The oldest PostgreSQL that is tested is newer; from this one on all that is used is there.
_OLDEST_POSTGRES = 140_000
#: A replica may be so many seconds behind before a master that was cut off takes nothing more.
_MOST_LAG = 10
#: On the host of Redis, so much of maxmemory has to be there: the fleet goes on beyond it.
_MEMORY_ON_HOST = 1.25
#: Off and with its rights: servers read the append-only file as this user, and may drop what it may not run.
_DEFAULT_OFF = "set `user default off resetpass ~* &* +@all`"


@dataclass(frozen=True, slots=True)
class PreflightCheck:
    """One check: its name, how it came out, the reason in words, and a hint ("" if nothing need be done)."""

    name: str
    status: CheckStatus
    reason: str
    hint: str = ""


def fit(name: str, reason: str) -> PreflightCheck:
    """Return a check that passed."""
    return PreflightCheck(name, CheckStatus.OK, reason)


def warned(name: str, reason: str, hint: str) -> PreflightCheck:
    """Return a check of what works, and should be better."""
    return PreflightCheck(name, CheckStatus.WARNING, reason, hint)


def unfit(name: str, reason: str, hint: str) -> PreflightCheck:
    """Return a check of what must not go into production."""
    return PreflightCheck(name, CheckStatus.FAILED, reason, hint)


def not_known(name: str, reason: str, hint: str = "") -> PreflightCheck:
    """Return a check that could not be made."""
    return PreflightCheck(name, CheckStatus.UNKNOWN, reason, hint)


def of_redis(check: RedisCheck) -> PreflightCheck:
    """Return a check of `siem redis check` as one of these."""
    words = f"not known: {check.words}" if check.standing is CheckStatus.UNKNOWN else check.words
    return PreflightCheck(f"redis {check.name}", check.standing, words, check.hint)


def is_local(host: str | None) -> bool:
    """Whether what goes to this host stays on this machine; a socket file has no host."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """How Redis lets this client in, and three of its settings; None is what it does not say.

    `refused` are commands that this user may not run, `open_to_all` is whether Redis answers without a
    password, `host` is where it is.
    """

    host: str | None
    encrypted: bool
    fails_over: bool
    user: str
    open_to_all: bool
    refused: tuple[str, ...]
    settings: Mapping[str, str | None]


def judge_access(access: RedisAccess) -> Iterator[PreflightCheck]:
    """Check who may send commands to Redis, over what, and whether the fleet may send all that it needs."""
    yield _login(access)
    yield _encryption("redis tls", access.host, encrypted=access.encrypted, how="rediss:// or sentinels://")
    if access.refused:
        yield unfit(
            "redis rights",
            f"this user may not: {', '.join(access.refused)}",
            "give the user of SIEM_REDIS_URL these commands, and all keys and channels that begin with siem:",
        )
    else:
        yield fit("redis rights", "this user may do all that the fleet does")


def _login(access: RedisAccess) -> PreflightCheck:
    if access.open_to_all:
        judge = warned if is_local(access.host) else unfit
        return judge(
            "redis login",
            "Redis answers without a password: who reaches it can read and delete events",
            f"{_DEFAULT_OFF} and a user with a password for the fleet, or requirepass",
        )
    if access.user == "default":
        return warned(
            "redis login",
            "the fleet signs in as the user `default`, as all others do who have its password",
            f"give the fleet, publishers and monitoring users of their own, and {_DEFAULT_OFF}",
        )
    return fit("redis login", f"Redis asks for a password; this is the user {access.user}")


def _encryption(name: str, host: str | None, *, encrypted: bool, how: str) -> PreflightCheck:
    if encrypted:
        return fit(name, "encrypted, and the server's certificate is verified")
    if is_local(host):
        return fit(name, "not encrypted; it stays on this machine")
    return warned(
        name,
        f"not encrypted on the way to {host}: who can listen there reads events and passwords",
        f"use TLS ({how}), or a network that is encrypted itself",
    )


def judge_server(info: Mapping[str, Any] | None, access: RedisAccess) -> Iterator[PreflightCheck]:
    """Check the settings of Redis that `siem redis check` leaves out: idle clients, memory, replicas."""
    idle = access.settings.get("timeout")
    if idle is None:
        yield of_redis(unknown("timeout", "timeout"))
    elif idle != "0":
        reason = f"timeout is {idle}: Redis closes connections that were idle for so many seconds"
        yield warned("redis timeout", reason, "set timeout 0")
    else:
        yield fit("redis timeout", "timeout 0")
    yield _limit(info or {})
    yield from _replication(info, access)


def _limit(info: Mapping[str, Any]) -> PreflightCheck:
    limit, there = info.get("maxmemory"), info.get("total_system_memory")
    if not isinstance(limit, int):
        return of_redis(unknown("maxmemory", "maxmemory"))
    if not limit:
        reason = "maxmemory is not set: Redis takes memory until the system ends it"
        return warned("redis maxmemory", reason, "set maxmemory to at most four fifths of the host's memory")
    words = f"maxmemory is {limit >> 20} MB"
    if not isinstance(there, int) or not there:
        return fit("redis maxmemory", f"{words}; it is not known how much its host has")
    if limit * _MEMORY_ON_HOST > there:
        reason = f"{words}, and its host has {there >> 20} MB: it needs a quarter more than maxmemory"
        return warned("redis maxmemory", reason, "lower maxmemory, or give the host more memory")
    return fit("redis maxmemory", f"{words}, its host has {there >> 20} MB")


def _replication(info: Mapping[str, Any] | None, access: RedisAccess) -> Iterator[PreflightCheck]:
    if info is None or "role" not in info:
        yield of_redis(unknown("replicas", "its replicas"))
        return
    if info["role"] != "master":
        reason = "this is a replica, which takes no writes"
        yield unfit("redis replicas", reason, "let SIEM_REDIS_URL name the master, or the sentinels")
        return
    replicas = int(info.get("connected_slaves", 0))
    if not access.fails_over:
        beside = f"{replicas} connected" if replicas else "none: while this server is away, publishers wait"
        yield fit("redis replicas", f"no sentinels in SIEM_REDIS_URL; replicas: {beside}")
        return
    yield _replicas(replicas)
    yield _durability(access.settings)


def _replicas(count: int) -> PreflightCheck:
    if not count:
        reason = "no replica is connected: nothing is accepted behind sentinels without one"
        return unfit("redis replicas", reason, "start two replicas")
    if count == 1:
        reason = "one replica is connected: after a failover the new master has none, and takes nothing"
        return warned("redis replicas", reason, "start a second replica")
    return fit("redis replicas", f"{count} replicas are connected")


def _durability(settings: Mapping[str, str | None]) -> PreflightCheck:
    fewest, lag = settings.get("min-replicas-to-write"), settings.get("min-replicas-max-lag")
    if fewest is None or lag is None:
        return of_redis(unknown("durability", "min-replicas-to-write"))
    if fewest == "0" or int(lag) > _MOST_LAG or lag == "0":
        return warned(
            "redis durability",
            f"min-replicas-to-write is {fewest}, min-replicas-max-lag {lag}: a master that was cut off goes "
            "on to take events, which its successor does not have",
            f"set min-replicas-to-write 1 and min-replicas-max-lag {_MOST_LAG}",
        )
    return fit("redis durability", f"min-replicas-to-write {fewest}, min-replicas-max-lag {lag}")


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What PostgreSQL says of itself and of this role.

    `lacking` are rights on tables that are there. `verified`: the server's certificate and its name are
    checked; `host` is where it is, None for a socket file.
    """

    version: int
    role: str
    is_superuser: bool
    takes_writes: bool
    host: str | None
    encrypted: bool
    verified: bool
    lacking: tuple[str, ...]


def judge_database(facts: DatabaseFacts) -> Iterator[PreflightCheck]:
    """Check the server, the connection to it, and what this role may do."""
    number = f"PostgreSQL {facts.version // 10_000}.{facts.version % 10_000}"
    if facts.version < _OLDEST_POSTGRES:
        reason, hint = f"{number} is too old to be supported", "run PostgreSQL 14 or later"
        yield warned("database version", reason, hint)
    else:
        yield fit("database version", number)
    yield _database_tls(facts)
    yield _role(facts)
    yield _rights(facts)


def _database_tls(facts: DatabaseFacts) -> PreflightCheck:
    if facts.encrypted and not facts.verified and not is_local(facts.host):
        return warned(
            "database tls",
            "encrypted, but any server can pose as the database",
            "add ?sslmode=verify-full&sslrootcert=/path/ca.pem to SIEM_DATABASE_URL",
        )
    how = "?sslmode=verify-full in SIEM_DATABASE_URL"
    return _encryption("database tls", facts.host, encrypted=facts.encrypted, how=how)


def _role(facts: DatabaseFacts) -> PreflightCheck:
    if facts.is_superuser:
        return warned(
            "database role",
            f"the role {facts.role} is a superuser: it may read files of the server and run programs there",
            "connect the fleet as a role of its own that may use the ledger's tables alone",
        )
    return fit("database role", f"the role {facts.role} is no superuser")


def _rights(facts: DatabaseFacts) -> PreflightCheck:
    if not facts.takes_writes:
        reason = "the database is read-only (a standby, or default_transaction_read_only)"
        return unfit("database rights", reason, "let SIEM_DATABASE_URL name the primary")
    if facts.lacking:
        reason = f"the role {facts.role} lacks {', '.join(facts.lacking)}"
        return unfit("database rights", reason, "GRANT it as the owner of the tables")
    return fit("database rights", f"the role {facts.role} has the rights that the fleet needs")


def judge_skew(name: str, whose: str, seconds: float | None) -> PreflightCheck:
    """Check by how many seconds this host's clock is ahead of another one; None if it answered too slowly."""
    if seconds is None:
        return not_known(name, f"{whose} answers too slowly to compare its clock")
    off = abs(seconds)
    direction = "ahead of" if seconds > 0 else "behind"
    if off < TELLING_SKEW:
        return fit(name, f"this host has the time of {whose}, within {span(TELLING_SKEW * 1000)}")
    reason = f"this host is {span(off * 1000)} {direction} {whose}"
    judge = unfit if off >= ALARMING_SKEW else warned
    return judge(name, reason, "synchronize the clocks (NTP)")


def judge_releases(own: str, running: Iterable[str]) -> PreflightCheck:
    """Check whether all processes that run are of one release."""
    found = sorted(set(running))
    if not found:
        return fit("processes", "no process of the fleet runs yet")
    if found == [own]:
        return fit("processes", f"all are of release {own}")
    reason = f"processes of release {', '.join(found)} run, and this is {own}"
    return warned("processes", reason, "finish the upgrade: replace the older ones")


def is_fit(checks: Sequence[PreflightCheck]) -> bool:
    """Whether no check failed."""
    return all(one.status is not CheckStatus.FAILED for one in checks)
