"""What servers say of themselves is judged as the guide for production asks."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from worker.model.preflight import (
    DatabaseFacts,
    RedisAccess,
    is_local,
    judge_access,
    judge_database,
    judge_releases,
    judge_server,
    judge_skew,
)

#: A Redis and a PostgreSQL with nothing to find fault with.
SETTINGS = {"timeout": "0", "min-replicas-to-write": "1", "min-replicas-max-lag": "10"}
ACCESS = RedisAccess(
    host="redis.example.com",
    encrypted=True,
    fails_over=True,
    user="siem",
    open_to_all=False,
    refused=(),
    settings=SETTINGS,
)
INFO = {"role": "master", "connected_slaves": 2, "maxmemory": 8 << 30, "total_system_memory": 16 << 30}
DATABASE = DatabaseFacts(
    version=160_004,
    role="siem",
    is_superuser=False,
    takes_writes=True,
    host="db.example.com",
    encrypted=True,
    verified=True,
    lacking=(),
)


def found(info: Mapping[str, object] | None = INFO, access: RedisAccess = ACCESS) -> dict[str, str]:
    """Return what is not ok of a Redis."""
    checks = [*judge_server(info, access), *judge_access(access)]
    return {one.name: one.status for one in checks if one.status != "ok"}


def test_a_good_server_passes() -> None:
    """Every check is made, and none finds fault."""
    names = [one.name for one in [*judge_server(INFO, ACCESS), *judge_access(ACCESS)]]

    assert names == [
        *("redis timeout", "redis maxmemory", "redis replicas", "redis durability"),
        *("redis login", "redis tls", "redis rights"),
    ]
    assert found() == {}
    assert {one.status for one in judge_database(DATABASE)} == {"ok"}


def test_each_fault_of_redis_is_found(subtests: pytest.Subtests) -> None:
    """One thing is wrong at a time."""

    def with_setting(name: str, value: str | None) -> RedisAccess:
        return replace(ACCESS, settings=SETTINGS | {name: value})

    near = replace(ACCESS, host="127.0.0.1")
    for info, access, expected in (
        (INFO, with_setting("timeout", "300"), {"redis timeout": "warning"}),
        (INFO, with_setting("timeout", None), {"redis timeout": "unknown"}),
        (INFO | {"maxmemory": 0}, ACCESS, {"redis maxmemory": "warning"}),
        (INFO | {"maxmemory": 14 << 30}, ACCESS, {"redis maxmemory": "warning"}),
        (INFO | {"role": "slave"}, ACCESS, {"redis replicas": "failed"}),
        (INFO | {"connected_slaves": 1}, ACCESS, {"redis replicas": "warning"}),
        (INFO | {"connected_slaves": 0}, ACCESS, {"redis replicas": "failed"}),
        (INFO | {"connected_slaves": 0}, replace(ACCESS, fails_over=False), {}),
        (INFO, with_setting("min-replicas-to-write", "0"), {"redis durability": "warning"}),
        (INFO, with_setting("min-replicas-max-lag", "60"), {"redis durability": "warning"}),
        (INFO, with_setting("min-replicas-max-lag", None), {"redis durability": "unknown"}),
        (None, ACCESS, {"redis maxmemory": "unknown", "redis replicas": "unknown"}),
        (INFO, replace(ACCESS, open_to_all=True), {"redis login": "failed"}),
        (INFO, replace(near, open_to_all=True), {"redis login": "warning"}),
        (INFO, replace(ACCESS, user="default"), {"redis login": "warning"}),
        (INFO, replace(ACCESS, encrypted=False), {"redis tls": "warning"}),
        (INFO, replace(near, encrypted=False), {}),
        (INFO, replace(ACCESS, refused=("XADD",)), {"redis rights": "failed"}),
    ):
        with subtests.test(info=info, access=access):
            assert found(info, access) == expected


def test_each_fault_of_the_database_is_found(subtests: pytest.Subtests) -> None:
    """One thing is wrong at a time, and what has to be done is said."""
    for facts, name, status in (
        (replace(DATABASE, version=130_002), "database version", "warning"),
        (replace(DATABASE, is_superuser=True), "database role", "warning"),
        (replace(DATABASE, takes_writes=False), "database rights", "failed"),
        (replace(DATABASE, lacking=("DELETE on parked",)), "database rights", "failed"),
        (replace(DATABASE, encrypted=False), "database tls", "warning"),
        (replace(DATABASE, verified=False), "database tls", "warning"),
    ):
        with subtests.test(name=name, facts=facts):
            faults = [one for one in judge_database(facts) if one.status != "ok"]
            assert [(one.name, one.status) for one in faults] == [(name, status)]
            assert faults[0].hint


def test_what_stays_on_this_machine_needs_no_tls() -> None:
    """A socket file, a name and addresses of loopback."""
    near = ("localhost", "127.0.0.1", "::1", "[::1]", "/run/postgresql", None)
    far = ("redis", "10.0.0.1", "localhost.example.com")

    assert [one for one in near if not is_local(one)] == []
    assert [one for one in far if is_local(one)] == []


def test_clocks_and_releases_are_compared() -> None:
    """A minute off is too much, some seconds are reported, and a slow answer says nothing."""
    skews = [judge_skew("clock", "Redis", seconds).status for seconds in (0.2, -7.0, 90.0, None)]
    releases = [judge_releases("2.0", one).status for one in ((), ("2.0", "2.0"), ("1.0", "2.0"), ("1.0",))]

    assert skews == ["ok", "warning", "failed", "unknown"]
    assert releases == ["ok", "ok", "warning", "warning"]
