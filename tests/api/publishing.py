"""Events on their way through the API, short to write; and what Redis has of them afterwards."""

import json
from typing import Any

from tests.api.conftest import PUBLISH_ONLY, Api
from worker.broker import keys

NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Make an event that is valid, unless the changes say otherwise."""
    return {"id": f"evt_{number}", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12Z", **changes}


def lines(*events: Any) -> bytes:
    """Write each in a line; bytes as they are."""
    return b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in events)


def publish(api: Api, content: Any, headers: dict[str, str] = NDJSON, **more: Any) -> Any:
    """Post a body to /events with a key that can do nothing else."""
    return api.ask("POST", "/events", PUBLISH_ONLY, content=content, headers=headers, **more)


def taken(api: Api) -> list[bytes]:
    """Take the events out of the ingress stream, in order, as a router would."""
    found: Any = api.resources.client.xrange(keys.EVENTS)
    for entry_id, _ in found:
        api.resources.client.xdel(keys.EVENTS, entry_id)
    return [fields[b"event"] for _, fields in found]
