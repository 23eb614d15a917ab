"""Signatures of Standard Webhooks 1.0.0: id, time and body of a request in, the value of a header out."""

import hmac
from base64 import b64encode
from collections.abc import Sequence


def signature(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Sign exactly these bytes with each key, in their order; "v1,…" for each, separated by spaces.

    `timestamp` is that of this attempt, in seconds since 1970 UTC. The id must hold no dot: what is signed is
    `id.timestamp.body` (Standard Webhooks 1.0.0, "Signature scheme").
    """
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return " ".join(["v1," + b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys])
