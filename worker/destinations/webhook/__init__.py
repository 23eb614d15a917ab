"""HTTP endpoints that take JSON, signed as Standard Webhooks 1.0.0 says."""

from worker.destinations import DestinationType, Example
from worker.integrations.webhook import Webhook

WEBHOOK = DestinationType(
    Webhook,
    label="Webhook",
    summary="Any HTTPS endpoint that takes JSON by POST, with a bearer token, an API key, signed, "
    "or as it is.",
    sender="worker.destinations.webhook.sender:WebhookSender",
    checks="worker.destinations.webhook.checks:WebhookChecks",
    examples=[
        Example(
            "webhook",
            "Any endpoint that takes JSON",
            {
                "type": "webhook",
                "url": "https://your-endpoint/webhook",
                "auth": {"kind": "bearer", "token": "your-token"},
                "max_retries": 3,
                "event_types": ["policy.deny"],
            },
        ),
        Example(
            "webhook_with_api_key",
            "The same, with a key in a header",
            {
                "type": "webhook",
                "name": "log archive",
                "url": "https://your-endpoint/webhook",
                "auth": {"kind": "api_key", "header": "X-Api-Key", "value": "your-key"},
                "body": "lines",
            },
        ),
    ],
    actions=frozenset({"sign"}),
)
