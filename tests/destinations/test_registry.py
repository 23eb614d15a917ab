"""The registry: whole for every type, light to import, and open to one more."""

import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Annotated, Literal

import pytest

from tests import procfile
from worker.destinations import DestinationType, registry
from worker.integrations import CONFIGS, DestinationConfig, TlsOptions, destination_types, register
from worker.integrations.destination import BatchBytes, BatchEvents, TimeoutSeconds
from worker.integrations.fields import Described
from worker.integrations.integration import parse_integration
from worker.model.errors import InvalidIntegration
from worker.model.fleet_health import worker_role

#: What delivers and checks certificates: a process that only reads the registry goes without.
HEAVY = {"pycurl", "requests", "urllib3", "cryptography"}


class Pigeon(DestinationConfig):
    """A destination of a type that did not exist when `Integration` was written."""

    type: Literal["pigeon"] = "pigeon"
    url: Annotated[str, Described(label="Loft", help="where it lives")]
    batch_events: BatchEvents = 1
    batch_bytes: BatchBytes = 1000
    timeout_seconds: TimeoutSeconds = 1.0


@pytest.fixture
def open_registry() -> Iterator[None]:
    """Forget behind a test what it has added."""
    configs, types = dict(CONFIGS), dict(registry.DESTINATIONS)
    yield
    for held, before in ((CONFIGS, configs), (registry.DESTINATIONS, types)):
        held.clear()
        held.update(before)  # type: ignore[arg-type]  # each with its own


def test_every_type_is_whole() -> None:
    """Each has a configuration, a sender, checks, words, examples, and a worker in the Procfile."""
    lines = procfile.lines()

    assert tuple(registry.DESTINATIONS) == destination_types()
    for one in registry.DESTINATIONS.values():
        assert one.config is CONFIGS[one.name]
        assert callable(pkgutil.resolve_name(one.sender))
        assert callable(pkgutil.resolve_name(one.checks))
        assert one.label
        assert one.summary.endswith(".")
        assert [example.document["type"] for example in one.examples] == [one.name] * len(one.examples)
        assert one.examples
        assert f" -Q {one.name} " in lines[worker_role(one.name)]


def test_the_registry_is_light() -> None:
    """Who reads which types there are does not load what delivers to them."""
    script = "import sys, worker.destinations.registry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert HEAVY.isdisjoint(loaded.stdout.split())


@pytest.mark.usefixtures("open_registry")
def test_a_type_may_come_later() -> None:
    """Integrations of a type are read as soon as it is registered; refusals name it from then on."""
    document = {"id": "int_1", "name": "loft", "destination": {"type": "pigeon", "url": "https://loft"}}

    with pytest.raises(InvalidIntegration, match="give one of splunk_hec, syslog_cef, webhook;"):
        parse_integration(document)
    register(Pigeon)
    loft = parse_integration(document)
    with pytest.raises(InvalidIntegration, match="give one of splunk_hec, syslog_cef, webhook, pigeon;"):
        parse_integration(document | {"destination": {"type": "crow"}})

    assert isinstance(loft.destination, Pigeon)
    assert loft.type == "pigeon"
    assert parse_integration(loft.model_dump()) == loft


@pytest.mark.usefixtures("open_registry")
def test_a_name_is_given_once() -> None:
    """Adding the same class twice is harmless; another class of the same type is refused."""

    class Dove(Pigeon):
        """Another one."""

    row = DestinationType(
        Pigeon, label="Pigeon", summary="By air.", sender="loft:Sender", checks="loft:Checks"
    )
    registry.add(row)
    registry.add(row)

    with pytest.raises(ValueError, match="a destination of the type pigeon"):
        register(Dove)
    assert registry.DESTINATIONS["pigeon"] is row


def test_a_configuration_has_what_all_have() -> None:
    """A class without the fields that all destinations have is refused by their names."""
    with pytest.raises(ValueError, match="TlsOptions has no field type, url, batch_events"):
        register(TlsOptions)  # type: ignore[arg-type]  # that is the mistake
