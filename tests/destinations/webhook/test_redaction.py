"""Whatever a webhook's endpoint repeats of what it was sent, no secret in it is shown."""

import json
from typing import Any

import pytest

from worker.destinations.webhook.redaction import response_excerpt, webhook_secrets
from worker.integrations.webhook import Webhook

LONG = "t" * 4_096


def shown(body: str, **config: Any) -> str:
    """Return what is shown of this answer."""
    return response_excerpt(
        body.encode(), webhook_secrets(Webhook.model_validate({"url": "https://a.example/"} | config))
    )


def test_secrets_are_struck_out() -> None:
    """Token, key, headers, signing secrets, and all of the url but its host."""
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"auth": {"kind": "bearer", "token": "hunter22"}}, "bad Bearer hunter22!", "bad Bearer ***!"),
        ({"auth": {"kind": "bearer", "token": LONG}}, LONG, "***"),
        ({"auth": {"kind": "api_key", "value": "a key"}}, "no: a key", "no: ***"),
        ({"headers": {"X-Team": "blue team", "X-Site": "eu"}}, "blue team in eu", "*** in eu"),
        ({"signing_secrets": ["whsec_" + "Ab1+" * 8]}, "whsec_" + "Ab1+" * 8, "***"),
        ({"url": "https://a.example/hook"}, "Cannot POST /hook", "Cannot POST ***"),
        ({"url": "https://a.example/s/T0/B1234567890123"}, "no B1234567890123 in T0", "no *** in T0"),
        ({"url": "https://a.example/?key=secret-of-query"}, "key secret-of-query?", "key ***?"),
        ({"url": "https://a.example/a%20b/c"}, "at /a b/c", "at ***"),
    ]
    for config, body, words in cases:
        assert shown(body, **config) == words, config


@pytest.mark.parametrize("value", ["/s/T0/B1", 'a "quoted" key'])
def test_json_hides_nothing(value: str) -> None:
    """Also as JSON spells them, with slashes and quotes escaped."""
    escaped = json.dumps(value).replace("/", "\\/")

    assert shown(f'{{"got":{escaped}}}', headers={"X-Key": value}) == '{"got":"***"}'


def test_what_is_no_secret_stays() -> None:
    """An endpoint's own words are there to be read."""
    assert shown("unknown event type") == "unknown event type"
