"""Publishing to several fleets: each event goes to the Redis of its tenant's cell, and to no other."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from errno import EACCES
from pathlib import Path
from typing import Any

import pytest

from tests.embedded_servers import VALKEY, RunningServer, start_server
from tests.fleet import wait_until
from worker.cells import CellDirectory, CellPublisher
from worker.model.errors import BrokerUnavailable, InvalidEvent, InvalidSetting

_SIEM = Path(sys.executable).parent / "siem"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, RunningServer]]:
    """Give the Redis of each of two cells."""
    with start_server(VALKEY, tmp_path / "east") as east, start_server(VALKEY, tmp_path / "west") as west:
        yield {"east": east, "west": west}


@pytest.fixture
def directory(servers: dict[str, RunningServer], tmp_path: Path) -> Path:
    """Give a directory: acme lives in the west, all others in the east."""
    secret = tmp_path / "west.url"
    secret.write_text(servers["west"].url + "\n")
    cells = {"east": {"redis_url": servers["east"].url}, "west": {"redis_url_file": str(secret)}}
    return write(tmp_path / "cells.json", {"cells": cells, "tenants": {"acme": "west"}, "default": "east"})


def write(path: Path, document: Any) -> Path:
    """Write a directory, at once for whoever reads it."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(document))
    draft.replace(path)
    return path


def change(path: Path, **fields: Any) -> None:
    """Change a directory."""
    write(path, json.loads(path.read_text()) | fields)


def event(event_id: str, tenant_id: str) -> dict[str, Any]:
    """Make an event of a tenant."""
    known = {"type": "policy.deny", "timestamp": "2026-11-26T10:11:12Z"}
    return {"id": event_id, "tenant_id": tenant_id} | known


def ids(server: RunningServer) -> list[str]:
    """Return the ids of the events that were published there, in their order."""
    with server.client() as client:
        entries: Any = client.xrange("siem:events")
        return [json.loads(fields[b"event"])["id"] for _, fields in entries]


def test_each_event_goes_to_the_cell_of_its_tenant(
    servers: dict[str, RunningServer], directory: Path
) -> None:
    """Receipts come in the order of the events; one that is wrong is refused alone."""
    events = [event("1", "acme"), event("2", "other"), {"id": "3"}, event("4", "acme")]
    with CellPublisher(directory) as publisher:
        receipts = list(publisher.publish_many(events))

    assert [type(receipt.error) for receipt in receipts] == [type(None), type(None), InvalidEvent, type(None)]
    assert ids(servers["west"]) == ["1", "4"]
    assert ids(servers["east"]) == ["2"]


def test_a_tenant_that_has_moved_is_followed(servers: dict[str, RunningServer], directory: Path) -> None:
    """A changed directory counts without a new publisher."""
    with CellPublisher(directory) as publisher:
        publisher.publish(event("before", "acme"))
        change(directory, tenants={})

        def moved() -> bool:
            publisher.publish(event("behind", "acme"))
            return bool(ids(servers["east"]))

        wait_until(moved, "the new directory counts")

    assert ids(servers["west"])[0] == "before"
    assert set(ids(servers["east"])) == {"behind"}


def test_a_directory_that_is_not_valid_leaves_the_one_before(
    servers: dict[str, RunningServer], directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in the file stops no events."""
    with CellPublisher(directory) as publisher:
        directory.write_text("{")

        def noticed() -> bool:
            publisher.publish(event("1", "acme"))
            return "the directory of cells is not valid" in caplog.text

        wait_until(noticed, "the mistake is logged")

    assert set(ids(servers["west"])) == {"1"}


def test_a_directory_that_could_not_be_read_is_read_once_it_can(
    servers: dict[str, RunningServer],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The right to read it, given afterwards, changes neither its content nor its time."""
    read_bytes = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path == directory:
            raise PermissionError(EACCES, "Permission denied")
        return read_bytes(path)

    with CellPublisher(directory) as publisher:

        def noticed() -> bool:
            publisher.publish(event("1", "acme"))
            return "Permission denied" in caplog.text

        def moved() -> bool:
            publisher.publish(event("2", "acme"))
            return bool(ids(servers["east"]))

        with monkeypatch.context() as patched:  # root, who runs the tests in CI, may read everything
            patched.setattr(Path, "read_bytes", refused)
            change(directory, tenants={})
            wait_until(noticed, "that it cannot be read is logged")
        wait_until(moved, "the new directory counts")

    assert caplog.text.count("the directory of cells is not valid") == 1


def test_a_renewed_url_is_followed(servers: dict[str, RunningServer], directory: Path) -> None:
    """A password that has been renewed in its file is used before the old one ends; a half file is not."""
    secret = directory.with_name("west.url")
    with CellPublisher(directory) as publisher:
        publisher.publish(event("before", "acme"))
        secret.write_text("")
        publisher._looked = 0.0  # noqa: SLF001 - as if a second had passed
        publisher.publish(event("half", "acme"))
        secret.write_text(servers["east"].url)

        def followed() -> bool:
            publisher.publish(event("behind", "acme"))
            return bool(ids(servers["east"]))

        wait_until(followed, "the new address counts")

    assert ids(servers["west"])[:2] == ["before", "half"]


def test_a_cell_that_is_away_does_not_stop_the_others(
    servers: dict[str, RunningServer], directory: Path
) -> None:
    """Its events get an error, those of the other cell are published; and its own, once it is back."""
    servers["west"].kill()
    with CellPublisher(directory, patience=0.2) as publisher:
        receipts = list(publisher.publish_many([event("1", "acme"), event("2", "other")]))
        servers["west"].restart()
        publisher.publish(event("3", "acme"))

    assert [type(receipt.error) for receipt in receipts] == [BrokerUnavailable, type(None)]
    assert ids(servers["east"]) == ["2"]
    assert ids(servers["west"]) == ["3"]


def test_a_tenant_without_a_cell_is_refused(directory: Path) -> None:
    """Without a default, only those that are named can publish."""
    change(directory, default=None)

    with (
        CellPublisher(directory) as publisher,
        pytest.raises(InvalidEvent, match="has no cell in the directory"),
    ):
        publisher.publish(event("1", "other"))


_URL = {"redis_url": "redis://localhost:6379/0"}


def test_what_is_wrong_in_a_directory_is_named(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """With the file, the place in it, and what would be right."""
    wrong = {
        "cells: Dictionary should have at least 1 item": {"cells": {}},
        "tenant: Extra inputs are not permitted": {"cells": {"east": _URL}, "tenant": {}},
        "north is no cell: name one of east": {"cells": {"east": _URL}, "tenants": {"acme": "north"}},
        "cells.east: give one of redis_url": {"cells": {"east": {}}},
        "must begin with redis://": {"cells": {"east": {"redis_url": "http://localhost"}}},
    }
    for words, document in wrong.items():
        pattern = f"{re.escape(str(tmp_path))}.*{re.escape(words)}"
        with subtests.test(words=words), pytest.raises(InvalidSetting, match=pattern):
            CellDirectory.read(write(tmp_path / "cells.json", document))


def test_no_error_shows_a_password(tmp_path: Path) -> None:
    """The address of a cell's Redis holds one."""
    document = {"cells": {"east": {"redis_url": "rediss://:hunter2@localhost"}}}

    with pytest.raises(InvalidSetting) as refused:
        CellDirectory.read(write(tmp_path / "cells.json", document))

    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(
        CellDirectory.model_validate({"cells": {"east": {"redis_url": "redis://:hunter2@a"}}})
    )


def test_the_command_publishes_to_cells(servers: dict[str, RunningServer], directory: Path) -> None:
    """It needs no SIEM_REDIS_URL then."""
    lines = "\n".join(
        json.dumps(event(str(number), tenant)) for number, tenant in enumerate(("acme", "other"))
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIEM_")}
    command: list[str | Path] = [_SIEM, "publish", "--cells", str(directory), "-"]
    done = subprocess.run(command, input=lines, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "Published 2 events.\n")
    assert ids(servers["west"]) == ["0"]
    assert ids(servers["east"]) == ["1"]
