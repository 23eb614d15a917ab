"""Every knob comes from the environment, and a wrong one is called by the name of its variable."""

import os
from collections.abc import Iterator
from ipaddress import ip_network
from itertools import cycle
from pathlib import Path
from unittest.mock import patch

import pytest
from pydantic import SecretStr

from worker.model.errors import InvalidSetting
from worker.settings import Settings, settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin with an environment that sets nothing, and forget afterwards what was read."""
    for name in [name for name in os.environ if name.upper().startswith("SIEM_")]:
        monkeypatch.delenv(name)
    settings.cache_clear()
    yield
    settings.cache_clear()


def refusal(name: str, value: str) -> InvalidSetting:
    """Return the error with which this variable, and no other, is refused."""
    with patch.dict(os.environ, {name: value}):
        try:
            settings()
        except InvalidSetting as error:
            return error
    pytest.fail(f"{name}={value!r} is accepted")


def test_nothing_needs_to_be_set() -> None:
    """Every knob has a default, the environment is read once."""
    assert settings().slots == 4
    assert settings().allowed_networks == ()
    assert settings() is settings()


def test_a_killed_recorder_raises_no_alarm_where_another_one_runs() -> None:
    """What it held is taken over within one and a half times `claim_idle`, before it counts as late."""
    assert settings().health_lag > 1.5 * settings().claim_idle


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, paths and lists, with blanks and empty parts between the commas."""
    monkeypatch.setenv("SIEM_SLOTS", "9")
    monkeypatch.setenv("SIEM_LEASE", "61.5")
    monkeypatch.setenv("SIEM_DATA_DIR", "/var/lib/siem")
    monkeypatch.setenv("SIEM_LOG_LEVEL", "warning")
    monkeypatch.setenv("SIEM_ALLOWED_NETWORKS", " 10.0.0.0/8, ,fd00::/8,192.0.2.1 ")

    read = settings()

    assert read.slots == 9
    assert read.lease == 61.5
    assert read.data_dir == Path("/var/lib/siem")
    assert read.log_level == "warning"
    assert read.allowed_networks == tuple(map(ip_network, ("10.0.0.0/8", "fd00::/8", "192.0.2.1/32")))


def test_a_wrong_variable_is_named() -> None:
    """The operator reads which variable to change, and where its meaning is written down."""
    for name, *values in (
        ("SIEM_SLOTS", "abc", "", "0", "65"),
        ("SIEM_WORKER_THREADS", "1025"),
        ("SIEM_LEASE", "nan", "-1"),
        ("SIEM_RETRY_BACKOFF", "0"),
        ("SIEM_RECORDER_LINGER", "-0.1"),
        ("SIEM_LOG_LEVEL", "loud"),
        ("SIEM_ALLOWED_NETWORKS", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/8;fd00::/8"),
        ("SIEM_REDIS_URL", "localhost:6379", "REDIS://localhost"),
    ):
        for value in values:
            error = refusal(name, value)

            assert error.field == name, value
            assert error.reason, (name, value)
            assert "README.md" in error.hint, (name, value)


def test_no_duration_is_without_end() -> None:
    """A time reckoned from it would fit neither into the database nor into a socket's timeout."""
    durations = [
        f"SIEM_{name.upper()}" for name, one in Settings.model_fields.items() if one.annotation is float
    ]
    for name in durations:
        for value in ("9" * 20, "inf", "nan"):
            error = refusal(name, value)

            assert error.field == name, value
            assert "Input should be" in error.reason, (name, value)


def test_the_waits_must_be_nested() -> None:
    """A send ends before its lease, and a lease before Celery hands the message to another."""
    for name, value in (
        ("SIEM_SEND_DEADLINE", "60"),
        ("SIEM_LEASE", "45"),
        ("SIEM_LEASE", "300"),
        ("SIEM_VISIBILITY_TIMEOUT", "60"),
    ):
        assert "SIEM_SEND_DEADLINE < SIEM_LEASE < SIEM_VISIBILITY_TIMEOUT" in str(refusal(name, value))


@pytest.mark.parametrize("tail", ["", "/0", "/0?ssl_cert_reqs=none"])
def test_tls_to_redis_without_verification_is_refused(tail: str) -> None:
    """Kombu verifies nothing unless the URL says so; the refusal does not repeat the password."""
    error = refusal("SIEM_REDIS_URL", f"rediss://:hunter2@redis.example.com{tail}")

    assert error.field == "SIEM_REDIS_URL"
    assert "ssl_cert_reqs=required" in error.reason
    assert "hunter2" not in str(error)


def test_secrets_are_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords in URLs and keys stay out of a repr."""
    monkeypatch.setenv("SIEM_REDIS_URL", "rediss://:hunter2@r/0?ssl_cert_reqs=required")
    monkeypatch.setenv("SIEM_DATABASE_URL", "postgresql+psycopg://u:hunter2@d/siem")
    monkeypatch.setenv("SIEM_SECRET_KEYS", "hunter2")

    assert "hunter2" not in repr(settings()) + str(settings())


def test_the_address_of_redis_is_the_one_that_was_set(tmp_path: Path) -> None:
    """What is set wins over the embedded server's."""
    (tmp_path / "redis.url").write_text("redis://embedded/0")
    given = Settings.model_validate({"redis_url": "redis://given/0", "data_dir": tmp_path})

    assert given.broker_address() == "redis://given/0"


def test_the_address_of_redis_may_be_the_embedded_servers(tmp_path: Path) -> None:
    """Left out, it stands in the data directory."""
    (tmp_path / "redis.url").write_text("redis://embedded/0\n")

    assert Settings(data_dir=tmp_path).broker_address() == "redis://embedded/0"


def test_no_redis_at_all_is_said_with_what_to_do(tmp_path: Path) -> None:
    """Neither set nor started: the message names the variable and `siem up`."""
    with pytest.raises(InvalidSetting) as caught:
        Settings(data_dir=tmp_path).broker_address()

    assert caught.value.field == "SIEM_REDIS_URL"
    assert "siem up" in caught.value.hint


def test_the_ledger_is_sqlite_unless_it_was_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Left out, it is a file in the data directory, by its absolute path."""
    monkeypatch.chdir(tmp_path)
    expected = f"sqlite:///{tmp_path / 'data' / 'ledger.sqlite3'}"

    assert Settings(data_dir=Path("data")).ledger_address() == expected
    assert Settings.model_validate({"database_url": "sqlite:////x"}).ledger_address() == "sqlite:////x"


def secret_variables() -> list[str]:
    """Name the variables of all secret settings, by their type."""
    fields = Settings.model_fields.items()
    return [f"SIEM_{name.upper()}" for name, field in fields if field.annotation is SecretStr]


def example_of(variable: str) -> str:
    """Return a secret that the setting accepts."""
    return {
        "SIEM_REDIS_URL": "redis://:hunter2@redis.example.com/0",
        "SIEM_HEALTH_WEBHOOK_URL": "https://hooks.example.com/hunter2",
    }.get(variable, "user:hunter2")


def test_every_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Mounted secrets need not be copied into the environment; editors end a file with a newline."""
    names = secret_variables()
    for end, name in zip(cycle(["\n", "\r\n", ""]), names, strict=False):
        path = tmp_path / name
        path.write_text(example_of(name) + end, newline="")
        monkeypatch.setenv(f"{name}_FILE", str(path))
        monkeypatch.setenv(name, "")  # left out

    read = settings().model_dump()

    assert len(names) >= 5
    found = {name: read[name.removeprefix("SIEM_").lower()].get_secret_value() for name in names}
    assert found == {name: example_of(name) for name in names}


def test_a_secret_file_that_cannot_be_used_is_named(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """The operator reads which variable and which path are wrong, and never what is in the file."""
    file = tmp_path / "secret"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, content, reason in (
        (tmp_path / "none", b"", "cannot be read: No such file"),
        (tmp_path / "loop", b"", "cannot be read: "),
        (tmp_path, b"", "is no regular file"),
        (tmp_path / "pipe", b"", "is no regular file"),
        (file, b"", "is empty"),
        (file, b" \n", "is empty"),
        (file, b"hunter2\xff", "is not UTF-8"),
        (file, b"hunter2\nhunter2\n", "several lines"),
        (file, b"hunter2\x00", "control characters"),
        (file, b"hunter2" * 10_000, "is larger than 65536 bytes"),
    ):
        with subtests.test(path=path, content=content[:20]):
            file.write_bytes(content)
            error = refusal("SIEM_SECRET_KEYS_FILE", str(path))

            assert error.field == "SIEM_SECRET_KEYS_FILE"
            assert reason in error.reason
            assert str(path) in error.reason
            assert error.hint
            assert "hunter2" not in str(error)
    with subtests.test("no path"):
        assert "names no file" in refusal("SIEM_SECRET_KEYS_FILE", "").reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that may not read a file")
def test_a_secret_file_of_another_user_is_named(tmp_path: Path) -> None:
    """The usual mistake: root wrote the file, and the fleet runs as a user of its own."""
    file = tmp_path / "secret"
    file.write_text("hunter2")
    file.chmod(0o600)
    os.seteuid(65534)
    try:
        error = refusal("SIEM_SECRET_KEYS_FILE", str(file))
    finally:
        os.seteuid(0)

    assert "Permission denied" in error.reason
    assert "this user may read" in error.hint


def test_a_secret_is_given_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which of the two holds would be a guess; and a file for what is no secret would go unnoticed."""
    monkeypatch.setenv("SIEM_METRICS_TOKEN", "hunter2")
    (tmp_path / "token").write_text("hunter2")

    error = refusal("SIEM_METRICS_TOKEN_FILE", str(tmp_path / "token"))
    assert "SIEM_METRICS_TOKEN as well" in error.reason
    assert "hunter2" not in str(error)
    error = refusal("SIEM_API_PORT_FILE", str(tmp_path / "token"))
    assert "SIEM_API_PORT is no secret" in error.reason


def test_all_wrong_secret_files_are_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who mounted nothing corrects it in one go."""
    monkeypatch.setenv("SIEM_REDIS_URL_FILE", str(tmp_path / "a"))

    error = refusal("SIEM_DATABASE_URL_FILE", str(tmp_path / "b"))

    assert [error.field, *(one.field for one in error.others)] == [
        "SIEM_REDIS_URL_FILE",
        "SIEM_DATABASE_URL_FILE",
    ]


def test_a_wrong_content_is_called_by_the_variable_of_its_file(tmp_path: Path) -> None:
    """The other variable is not set: its name would be no help."""
    (tmp_path / "url").write_text("localhost:hunter2")

    error = refusal("SIEM_REDIS_URL_FILE", str(tmp_path / "url"))

    assert error.field == "SIEM_REDIS_URL_FILE"
    assert "hunter2" not in str(error)
