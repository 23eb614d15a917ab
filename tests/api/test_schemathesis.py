"""The API is asked all that its description allows, and more: no fault, no answer that is not described."""

import itertools
import re
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.conftest import ADMIN, OURS, Api
from tests.api.routes import NOTHING
from worker.api.app import create_app

pytestmark = pytest.mark.slow
pytest_plugins = ["schemathesis.pytest.plugin"]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def lines(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Send text as it stands; whether it is lines of JSON is for the API to find out."""
    return str(value).encode(errors="replace")


_turns = itertools.count()
description = schemathesis.openapi.from_dict(create_app(NOTHING).openapi())


def _asked_of(operation: str) -> Any:
    @description.include(name=operation).parametrize()
    @hypothesis.settings(
        max_examples=25,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    def every_answer_is_documented(case: schemathesis.Case[Any], api: Api) -> None:
        """Whatever is asked, the status, the type of content and the content are those of the description."""
        _ask(case, api)

    return every_answer_is_documented


# A function for each operation. The tests that `parametrize` makes of one have the same name to pytest 9.2,
# and xdist runs only one of those.
OPERATIONS = [operation.ok().label for operation in description.get_all_operations()]  # type: ignore[union-attr]  # one that is wrong has no `ok`, and fails here
TESTS = {re.sub(r"\W+", "_", f"test {operation}"): _asked_of(operation) for operation in OPERATIONS}
assert len(TESTS) == len(OPERATIONS)
globals().update(TESTS)


def _ask(case: schemathesis.Case[Any], api: Api) -> None:
    if "integration_id" in case.path_parameters and next(_turns) % 5 == 0:
        # Text at random would never name one that is there.
        case.path_parameters["integration_id"] = _living(api)
    with requests.Session() as session:
        session.trust_env = False
        case.call_and_validate(
            base_url=api.url,
            session=session,
            headers={"Authorization": f"Bearer {api.keys[OURS, ADMIN]}"},
            # Of a fleet of which nothing runs, 503 is the right thing to say here.
            checks=CHECKS[1:] if case.path == "/readyz" else CHECKS,
            timeout=90,
        )


def _living(api: Api) -> str:
    """Return the id of an integration that no one has deleted yet."""
    found = api.get("/integrations/siem?limit=1")["items"] or [api.create()]
    return str(found[0]["id"])
