"""The address of Redis is read, or refused with words that say what would be right."""

import pytest

from worker.broker.celery_worker import broker_settings
from worker.broker.connection import fails_over, redis_client
from worker.model.errors import InvalidSetting
from worker.model.redis_address import SentinelAddress, check_address, place, sentinel_address

WATCHED = "sentinel://user:hunter%402@one:26380,two,[::1]:26381/3?service=mymaster"


def test_sentinels_are_read() -> None:
    """Hosts with and without a port, the service, name and password, the database."""
    assert sentinel_address(WATCHED) == SentinelAddress(
        (("one", 26380), ("two", 26379), ("::1", 26381)), "mymaster", 3, "user", "hunter@2"
    )


def test_sentinels_may_have_a_password_of_their_own_and_tls() -> None:
    """Both lie in the query; TLS is for the sentinels and for the servers behind them."""
    found = sentinel_address(
        "sentinels://one,two/0?service=m&ssl_cert_reqs=required&ssl_ca_certs=/ca.pem"
        "&sentinel_username=watcher&sentinel_password=hunter2"
    )

    assert found is not None
    assert (found.sentinel_username, found.sentinel_password) == ("watcher", "hunter2")
    assert found.tls == {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"}
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sentinel://:hunter2@one,two/0", "must name the service"),
        ("sentinel://:hunter2@/0?service=m", "must name the sentinels as host:port, separated by commas"),
        ("sentinel://:hunter2@one,,two/0?service=m", "must name the sentinels"),
        ("sentinel://:hunter2@one:port/0?service=m", "must name the sentinels"),
        ("sentinel://:hunter2@one:70000/0?service=m", "must name the sentinels"),
        ("sentinel://:hunter2@one/x?service=m", "must have the database's number for a path, like /0"),
        ("sentinel://:hunter2@one/0?service=m&ssl_ca_certs=/ca", "option that sentinel:// does not know"),
        ("sentinel://:hunter2@one/0?service=m&hunter2=1", "there are: service, sentinel_username"),
        ("sentinels://:hunter2@one/0?service=m", "must say ?ssl_cert_reqs=required"),
        ("http://:hunter2@one/0", "must begin with redis://, rediss://, sentinel:// or sentinels://"),
        ("redis://[hunter2", "is no URL"),
    ],
)
def test_a_wrong_address_is_refused(url: str, reason: str) -> None:
    """With what is wrong and what is right, and never with the password."""
    with pytest.raises(ValueError, match=r"\w") as refused:
        check_address(url)

    assert reason in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_client_of_wrong_sentinels_names_the_setting() -> None:
    """So does a program that publishes with an address of its own."""
    with pytest.raises(InvalidSetting, match="SIEM_REDIS_URL: must name the service"):
        redis_client("sentinel://one:26379/0")


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://:hunter2@host/0", "host:6379"),
        ("rediss://host:6380/0?ssl_cert_reqs=required", "host:6380"),
        (WATCHED, "mymaster of sentinels one:26380, two:26379, ::1:26381"),
    ],
)
def test_the_place_is_named_without_secrets(url: str, where: str) -> None:
    """For people who look where Redis is."""
    assert place(url) == where


def test_celery_is_led_to_the_same_master() -> None:
    """Every sentinel with name, password and database of the server; their own password goes apart."""
    made = broker_settings(
        "sentinels://user:hunter%402@one,[::1]:26381/3?service=m&sentinel_password=watch"
        "&ssl_cert_reqs=required&ssl_ca_certs=/ca.pem",
        300.0,
    )
    options = made["broker_transport_options"]

    assert made["broker_url"] == (
        "sentinel://user:hunter%402@one:26379/3;sentinel://user:hunter%402@[::1]:26381/3"
    )
    assert made["broker_use_ssl"] == {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"}
    assert (options["socket_timeout"], options["master_name"]) == (15, "m")
    assert options["sentinel_kwargs"]["password"] == "watch"
    assert options["sentinel_kwargs"]["ssl_ca_certs"] == "/ca.pem"


def test_only_behind_sentinels_a_server_can_be_replaced() -> None:
    """There, publishing waits for a replica."""
    assert fails_over(redis_client(WATCHED))
    assert not fails_over(redis_client("redis://host/0"))
