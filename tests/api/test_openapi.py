"""/openapi.json tells what is there: every type with an example that works, every problem, who may enter."""

from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from tests.api.conftest import Api
from worker.integrations import destination_types
from worker.model.failures import FailureCode


@pytest.fixture
def document(api: Api) -> Any:
    """Give the document."""
    answer = api.http.get(f"{api.url}/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def validator(document: Any, schema: dict[str, Any]) -> Draft202012Validator:
    """Make a validator of a schema of the document."""
    return Draft202012Validator({**schema, "components": document["components"]})


def body(document: Any, method: str, path: str) -> Any:
    """Return the content of a request's body."""
    [content] = document["paths"][f"/api/v1{path}"][method]["requestBody"]["content"].values()
    return content


def test_every_type_has_an_example(document: Any) -> None:
    """Someone who wants to set one up finds what to send."""
    examples = body(document, "post", "/integrations/siem")["examples"]

    assert {one["value"]["type"] for one in examples.values()} == set(destination_types())


def test_an_example_works_and_fits(api: Api, document: Any) -> None:
    """An example is what the schema says, it creates an integration, and the answer is what is documented."""
    given = body(document, "post", "/integrations/siem")
    shown = {"$ref": "#/components/schemas/Integration"}

    assert given["examples"]
    for name, example in given["examples"].items():
        made = api.create({**example["value"], "name": f"example {name}"})
        assert validator(document, given["schema"]).is_valid(example["value"]), name
        assert list(validator(document, shown).iter_errors(made)) == [], name


def test_an_example_of_a_change_works(api: Api, document: Any) -> None:
    """The same of changes, each of an integration of Splunk."""
    splunk = body(document, "post", "/integrations/siem")["examples"]["splunk_hec"]["value"]
    given = body(document, "patch", "/integrations/siem/{integration_id}")

    assert given["examples"]
    for name, example in given["examples"].items():
        made = api.create(splunk, name=f"changed {name}")
        assert validator(document, given["schema"]).is_valid(example["value"]), name
        path = f"/integrations/siem/{made['id']}"
        assert api.ask("PATCH", path, json=example["value"]).status_code == 200, name
        assert list(validator(document, given["schema"]).iter_errors(api.get(path))) == [], name


def test_every_route_below_the_api_says_that_it_wants_a_key(document: Any) -> None:
    """The scheme is a bearer's, and 401 and 403 are described."""
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        if path.startswith("/api/v1"):
            for operation in methods.values():
                assert operation["security"] == [{"HTTPBearer": []}]
                assert {"401", "403", "422", "429", "503"} <= operation["responses"].keys()
                assert "application/problem+json" in operation["responses"]["401"]["content"]


def test_secrets_are_marked_as_such(document: Any) -> None:
    """A client's generator learns which fields are written and never read."""
    schemas = document["components"]["schemas"]

    assert schemas["SplunkHecCreation"]["properties"]["token"]["writeOnly"] is True
    assert schemas["SplunkHecIntegration"]["properties"]["token"] == {
        "$ref": "#/components/schemas/SecretMark"
    }
    assert schemas["SplunkHecCreation"]["required"] == ["type", "url", "token"]


def test_every_failure_code_is_documented(document: Any) -> None:
    """Who filters by `error_code` finds each value, and whether a setting causes it."""
    words = document["components"]["schemas"]["DeliveryDocument"]["properties"]["error_code"]["description"]

    assert [code for code in FailureCode if f"`{code}` ({code.origin.value})" not in words] == []
