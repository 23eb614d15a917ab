"""Whether a Redis suits: what it says of itself, judged. The one definition of every check.

Input: the fields of INFO, and what the ledger and Redis say of whose Redis it is. Output: a check for
each thing that can cost accepted events, in words, with a hint. Pure.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from worker.model.fleet_health import Part
from worker.model.ingress_checks import (
    CheckStatus,
    IngressIds,
    RedisCheck,
    judge_ids,
    judge_publishing,
    unknown,
)
from worker.model.parking import MemoryPlan, budget_of

__all__ = ["CheckStatus", "RedisCheck"]

#: The oldest Redis whose commands are enough (XAUTOCLAIM came with it).
OLDEST_VERSION = (6, 2)
#: Checks whose failure an operator may accept (SIEM_REDIS_ACCEPT): it is a warning then.
ACCEPTABLE = frozenset({"eviction", "persistence"})
#: The part of the fleet that shows them.
PART = "redis-config"

#: Of maxmemory, the backlogs may take this part: the rest is for what comes in and goes out.
_MOST_OF_REDIS = 0.8


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What Redis says of itself: the fields of INFO, two settings, its integrations, the ids of the ingress.

    `info` is None where INFO is forbidden, a setting where CONFIG GET is, `ids` where XINFO is: ACLs and
    providers do that. `largest_value` is `proto-max-bulk-len`, in bytes.
    """

    info: Mapping[str, Any] | None
    appendfsync: str | None = None
    integrations: int = 0
    ids: IngressIds | None = None
    largest_value: int | None = None


def judge_redis(
    facts: RedisFacts, accepted: Collection[str] = (), plan: MemoryPlan | None = None
) -> list[RedisCheck]:
    """Return every check but that of the ledger, in a fixed order; an accepted failure is a warning.

    Without a `plan`, the memory is not checked.
    """
    info = facts.info or {}
    checks = [_version(info), _cluster(info), _eviction(info), _evicted(info), _persistence(info)]
    checks += [*_fsync(info, facts.appendfsync), judge_ids(facts.ids)]
    checks += [_memory(info, facts.integrations, plan)] if plan else []
    return [_accepted(one) if one.name in accepted else one for one in checks]


def judge_doors(facts: RedisFacts) -> list[RedisCheck]:
    """Return what matters only where a publisher is not to be trusted."""
    return judge_publishing(str((facts.info or {}).get("redis_version", "")), facts.largest_value)


def judge_claim(holder: str | None, ledger_id: str) -> RedisCheck:
    """Check whether this Redis belongs to the ledger; `holder` is the ledger that claimed it, if any has."""
    if holder is None:
        return RedisCheck("ledger", CheckStatus.OK, "no ledger has claimed this Redis yet")
    if holder == ledger_id:
        return RedisCheck("ledger", CheckStatus.OK, "it belongs to this ledger")
    return RedisCheck(
        "ledger",
        CheckStatus.FAILED,
        f"this Redis belongs to another ledger ({holder}; this one is {ledger_id}), and nothing is recorded, "
        "else the events of both are mixed",
        "correct SIEM_REDIS_URL or SIEM_DATABASE_URL; only if this database replaces the other one for good: "
        "`siem redis claim`",
    )


def config_part(checks: Sequence[RedisCheck]) -> Part:
    """Return what readiness shows of the checks: not ok where accepted events get lost."""
    troubles = [one for one in checks if one.standing is not CheckStatus.OK]
    words = "; ".join(f"{_MARKS[one.standing]}{one.sentence}" for one in troubles)
    failed = any(one.standing is CheckStatus.FAILED for one in checks)
    return Part(PART, ok=not failed, words=words or ", ".join(one.words for one in checks))


_MARKS = {
    CheckStatus.FAILED: "",
    CheckStatus.WARNING: "warning: ",
    CheckStatus.UNKNOWN: "cannot be checked: ",
}


def _version(info: Mapping[str, Any]) -> RedisCheck:
    text = str(info.get("redis_version", ""))
    numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    if len(numbers) < len(OLDEST_VERSION):
        return unknown("version", "the version of Redis")
    if numbers >= OLDEST_VERSION:
        product = "Valkey" if "valkey_version" in info else "Redis"
        return RedisCheck("version", CheckStatus.OK, f"{product} {info.get('valkey_version', text)}")
    return RedisCheck(
        *("version", CheckStatus.FAILED, f"Redis {text} is too old", "run Redis 6.2 or later, or Valkey"),
        fatal=True,
    )


def _cluster(info: Mapping[str, Any]) -> RedisCheck:
    enabled = _number(info, "cluster_enabled")
    if enabled is None:
        return unknown("cluster", "whether it is a Redis Cluster")
    if not enabled:
        return RedisCheck("cluster", CheckStatus.OK, "no Redis Cluster")
    return RedisCheck(
        "cluster",
        CheckStatus.FAILED,
        "this is a Redis Cluster, which refuses transactions over several keys, and every step needs those",
        "use a single Redis with replicas and sentinels (cluster mode disabled)",
        fatal=True,
    )


def _eviction(info: Mapping[str, Any]) -> RedisCheck:
    policy, limit = info.get("maxmemory_policy"), _number(info, "maxmemory")
    if policy is None or limit is None:
        return unknown("eviction", "maxmemory-policy")
    if policy == "noeviction":
        return RedisCheck("eviction", CheckStatus.OK, "maxmemory-policy noeviction")
    hint = "set maxmemory-policy noeviction"
    if not limit:
        words = f"maxmemory-policy is {policy}; nothing is evicted only because maxmemory is 0"
    elif str(policy).startswith("volatile"):
        words = f"maxmemory-policy is {policy}: when memory is short, Redis deletes sessions and locks"
    else:
        words = f"maxmemory-policy is {policy}: when memory is short, Redis deletes accepted events"
        return RedisCheck("eviction", CheckStatus.FAILED, words, hint)
    return RedisCheck("eviction", CheckStatus.WARNING, words, hint)


def _evicted(info: Mapping[str, Any]) -> RedisCheck:
    evicted = _number(info, "evicted_keys")
    if evicted is None:
        return unknown("evicted", "whether keys were evicted")
    if not evicted:
        return RedisCheck("evicted", CheckStatus.OK, "no key was evicted")
    return RedisCheck(
        "evicted",
        CheckStatus.FAILED,
        f"Redis has evicted {evicted} keys since its statistics began: accepted events may be gone",
        "set maxmemory-policy noeviction, raise maxmemory; `CONFIG RESETSTAT` in Redis ends this message",
    )


def _persistence(info: Mapping[str, Any]) -> RedisCheck:
    enabled = _number(info, "aof_enabled")
    if enabled is None:
        return unknown("persistence", "whether the append-only file is on")
    if enabled:
        return _written(info)
    words = "the append-only file is off: a restart of Redis loses accepted events"
    if _number(info, "connected_slaves"):
        hint = "set appendonly yes; a replica is connected, but it helps only if it takes over"
        return RedisCheck("persistence", CheckStatus.WARNING, words, hint)
    hint = "set appendonly yes; where a provider keeps writes safe otherwise: SIEM_REDIS_ACCEPT=persistence"
    return RedisCheck("persistence", CheckStatus.FAILED, words, hint)


def _written(info: Mapping[str, Any]) -> RedisCheck:
    if info.get("aof_last_write_status", "ok") == "ok":
        return RedisCheck("persistence", CheckStatus.OK, "append-only file on")
    hint = "free space on its disk, and read its log"
    words = "Redis cannot write its append-only file: a restart loses accepted events"
    return RedisCheck("persistence", CheckStatus.FAILED, words, hint)


def _fsync(info: Mapping[str, Any], appendfsync: str | None) -> Iterator[RedisCheck]:
    """Check how often the append-only file goes to the disk, if there is one."""
    if not _number(info, "aof_enabled"):
        return
    if appendfsync is None:
        yield unknown("fsync", "appendfsync")
    elif appendfsync == "no":
        words = "appendfsync is no: a crash of the host may lose half a minute of events"
        yield RedisCheck("fsync", CheckStatus.WARNING, words, "set appendfsync everysec, or always")
    else:
        yield RedisCheck("fsync", CheckStatus.OK, f"appendfsync {appendfsync}")


def _memory(info: Mapping[str, Any], integrations: int, plan: MemoryPlan) -> RedisCheck:
    """Check whether what may wait fits into the memory that Redis may take."""
    limit = _number(info, "maxmemory")
    if limit is None:
        return unknown("memory", "maxmemory")
    budget, caps = budget_of(plan.setting, limit), integrations * plan.one_backlog
    budgeted = f"all backlogs together may take {_megabytes(budget)}"
    if not limit:
        return RedisCheck("memory", CheckStatus.OK, f"{budgeted}; maxmemory is not set")
    if budget > limit * _MOST_OF_REDIS:
        words = f"{budgeted} (SIEM_WAITING_BYTES), of a maxmemory of {_megabytes(limit)}"
        words += ": Redis is full before"
        hint = "leave SIEM_WAITING_BYTES out, which is half of maxmemory, or raise maxmemory"
        return RedisCheck("memory", CheckStatus.WARNING, words, hint)
    if caps > limit:
        words = (
            f"the caps of {integrations} backlogs are {_megabytes(caps)} together, and maxmemory is "
            f"{_megabytes(limit)}: {budgeted}, beyond which the largest give up events to the database"
        )
        hint = "lower SIEM_BACKLOG_BYTES and SIEM_BACKLOG_EVENTS, or raise maxmemory"
        return RedisCheck("memory", CheckStatus.WARNING, words, hint)
    return RedisCheck("memory", CheckStatus.OK, f"{budgeted}, of a maxmemory of {_megabytes(limit)}")


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.0f} MB".replace(",", " ")


def _number(info: Mapping[str, Any], name: str) -> int | None:
    """Read a number; None where the server does not say it, or says something else."""
    value = info.get(name)
    return int(value) if isinstance(value, int | float) else None


def _accepted(check: RedisCheck) -> RedisCheck:
    if check.standing is not CheckStatus.FAILED or check.fatal:
        return check
    return replace(
        check, standing=CheckStatus.WARNING, words=f"{check.words} (accepted by SIEM_REDIS_ACCEPT)", hint=""
    )
