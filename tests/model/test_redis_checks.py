"""Which Redis suits: every check, from what INFO and CONFIG say."""

from typing import Any

import pytest

from worker.model.ingress_checks import IngressIds
from worker.model.parking import MemoryPlan
from worker.model.redis_checks import (
    ACCEPTABLE,
    CheckStatus,
    RedisCheck,
    RedisFacts,
    config_part,
    judge_claim,
    judge_doors,
    judge_redis,
)

#: INFO of a Redis that suits.
WELL: dict[str, Any] = {
    "redis_version": "7.2.4",
    "cluster_enabled": 0,
    "maxmemory": 1_000_000,
    "maxmemory_policy": "noeviction",
    "evicted_keys": 0,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "connected_slaves": 0,
}


def checked(
    name: str, *, appendfsync: str | None = "everysec", accepted: str = "", **info: Any
) -> RedisCheck:
    """Judge a Redis that suits but for these fields of INFO; return the check of that name."""
    checks = judge_redis(RedisFacts(WELL | info, appendfsync), {accepted})
    return next(one for one in checks if one.name == name)


def test_a_redis_that_suits_has_nothing_to_correct() -> None:
    """Every check is well, and none has a hint."""
    checks = judge_redis(RedisFacts(WELL, "everysec", ids=IngressIds()))

    assert [(one.name, one.standing, one.hint, one.fatal) for one in checks] == [
        (name, CheckStatus.OK, "", False)
        for name in ("version", "cluster", "eviction", "evicted", "persistence", "fsync", "ids")
    ]
    assert config_part(checks).ok


@pytest.mark.parametrize(
    ("name", "info", "standing", "words"),
    [
        ("eviction", {"maxmemory_policy": "allkeys-lru"}, "failed", "deletes accepted events"),
        ("eviction", {"maxmemory_policy": "volatile-ttl"}, "warning", "deletes sessions and locks"),
        ("eviction", {"maxmemory_policy": "allkeys-lfu", "maxmemory": 0}, "warning", "maxmemory is 0"),
        ("evicted", {"evicted_keys": 3}, "failed", "has evicted 3 keys"),
        ("persistence", {"aof_enabled": 0}, "failed", "a restart of Redis loses accepted events"),
        ("persistence", {"aof_enabled": 0, "connected_slaves": 1}, "warning", "append-only file is off"),
        ("persistence", {"aof_last_write_status": "err"}, "failed", "cannot write its append-only file"),
        ("cluster", {"cluster_enabled": 1}, "failed", "is a Redis Cluster"),
        ("version", {"redis_version": "6.0.16"}, "failed", "Redis 6.0.16 is too old"),
        ("version", {"redis_version": "6.2.0"}, "ok", "Redis 6.2.0"),
        ("version", {"redis_version": "10.0"}, "ok", "Redis 10.0"),
        ("version", {"valkey_version": "9.0.1"}, "ok", "Valkey 9.0.1"),
    ],
)
def test_each_fault_is_named(name: str, info: dict[str, Any], standing: str, words: str) -> None:
    """With the words that say what it costs, and a hint unless all is well."""
    found = checked(name, **info)

    assert (found.standing, words in found.words) == (standing, True)
    assert bool(found.hint) == (standing != "ok")
    assert found.fatal == (name in ("cluster", "version") and standing == "failed")


def test_an_fsync_that_is_left_to_the_system_is_a_warning() -> None:
    """And nothing is said of it where there is no append-only file."""
    assert checked("fsync", appendfsync="no").standing is CheckStatus.WARNING
    names = [one.name for one in judge_redis(RedisFacts(WELL | {"aof_enabled": 0}, None))]
    assert "fsync" not in names


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("version", "redis_version"),
        ("cluster", "cluster_enabled"),
        ("eviction", "maxmemory_policy"),
        ("eviction", "maxmemory"),
        ("evicted", "evicted_keys"),
        ("persistence", "aof_enabled"),
    ],
)
def test_what_redis_does_not_say_is_unknown(name: str, field: str) -> None:
    """Neither passed nor failed: also where another server writes something else there."""
    without = {key: value for key, value in WELL.items() if key != field}
    missing = judge_redis(RedisFacts(without, "everysec"))
    odd = "" if field in ("redis_version", "maxmemory_policy") else "yes"
    found = next(one for one in missing if one.name == name)

    assert found.standing is CheckStatus.UNKNOWN
    if odd:
        assert checked(name, **{field: odd}).standing is CheckStatus.UNKNOWN
    assert "cannot be checked" in config_part(missing).words
    assert config_part(missing).ok


def test_without_info_nothing_is_known() -> None:
    """An ACL may forbid it: that is said, and no process is refused for it."""
    checks = judge_redis(RedisFacts(None))

    assert {one.standing for one in checks} == {CheckStatus.UNKNOWN}
    assert not any(one.fatal for one in checks)


@pytest.mark.parametrize(
    ("ids", "standing", "words"),
    [
        (IngressIds("1-1"), "ok", "follow the clock"),
        (IngressIds("9999999999999-0", ahead=True), "failed", "the last is 9999999999999-0"),
        (IngressIds("5-0", repaired_ms=1_795_385_700_000, repaired_id="9-0"), "warning", "(9-0)"),
        (None, "unknown", "whether the ids"),
    ],
)
def test_ids_that_a_publisher_chose_are_reported(ids: IngressIds | None, standing: str, words: str) -> None:
    """While they keep events out that is a failure; afterwards a warning, with when it was."""
    [check] = [one for one in judge_redis(RedisFacts(WELL, "no", ids=ids)) if one.name == "ids"]

    assert check.standing == standing
    assert words in check.words
    assert ("2026-11-22 22:15:00Z" in check.words) == (standing == "warning")


@pytest.mark.parametrize(
    ("version", "largest", "names"),
    [
        ("7.2.4", 32 << 20, []),
        ("7.2.4", None, []),
        ("7.2.4", 512 << 20, ["largest value"]),
        ("6.2.14", 32 << 20, ["removals"]),
    ],
)
def test_what_a_publisher_could_do_unnoticed_is_reported(
    version: str, largest: int | None, names: list[str]
) -> None:
    """By the doctor; what cannot be asked is left out."""
    checks = judge_doors(RedisFacts(WELL | {"redis_version": version}, largest_value=largest))

    assert [one.name for one in checks] == names
    assert {one.standing for one in checks} <= {CheckStatus.WARNING}


def test_what_an_operator_accepts_is_a_warning() -> None:
    """It stays in the words; a Redis Cluster cannot be accepted."""
    accepted = checked("persistence", aof_enabled=0, accepted="persistence")

    assert accepted.standing is CheckStatus.WARNING
    assert "accepted by SIEM_REDIS_ACCEPT" in accepted.words
    assert checked("cluster", cluster_enabled=1, accepted="cluster").fatal
    assert {"eviction", "persistence"} == ACCEPTABLE


def test_the_part_of_the_fleet_is_not_ok_where_events_get_lost() -> None:
    """A warning is shown, and is no failure."""
    warned = config_part(judge_redis(RedisFacts(WELL, "no", ids=IngressIds())))
    failed = config_part(judge_redis(RedisFacts(WELL | {"evicted_keys": 3}, "no")))

    assert (warned.ok, warned.words.startswith("warning: appendfsync is no")) == (True, True)
    assert (failed.ok, "has evicted 3 keys" in failed.words) == (False, True)


def test_a_redis_belongs_to_one_ledger() -> None:
    """Unclaimed or ours is well; another's is not, and both ids are named."""
    assert [judge_claim(holder, "one").standing for holder in (None, "one")] == [CheckStatus.OK] * 2
    other = judge_claim("two", "one")

    assert other.standing is CheckStatus.FAILED
    assert "(two; this one is one)" in other.words
    assert "siem redis claim" in other.hint


@pytest.mark.parametrize(
    ("maxmemory", "integrations", "setting", "standing", "words"),
    [
        (0, 50, 0, CheckStatus.OK, "all backlogs together may take 2 000 MB; maxmemory is not set"),
        (
            1_000_000_000,
            2,
            0,
            CheckStatus.OK,
            "may take 500 MB, of a maxmemory of 1 000 MB",
        ),
        (1_000_000_000, 50, 0, CheckStatus.WARNING, "the caps of 50 backlogs are 17 000 MB together"),
        (1_000_000_000, 2, 900_000_000, CheckStatus.WARNING, "900 MB (SIEM_WAITING_BYTES)"),
    ],
)
def test_memory_that_may_be_too_small_is_a_warning(
    maxmemory: int, integrations: int, setting: int, standing: CheckStatus, words: str
) -> None:
    """The caps of all backlogs, or the budget of all, against what Redis may take."""
    facts = RedisFacts(WELL | {"maxmemory": maxmemory}, "everysec", integrations)
    check = judge_redis(facts, plan=MemoryPlan(340_000_000, setting))[-1]

    assert (check.name, check.standing) == ("memory", standing)
    assert words in check.words
    assert bool(check.hint) is (standing is CheckStatus.WARNING)
