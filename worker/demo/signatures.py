"""What a receiver of Standard Webhooks 1.0.0 demands of a request before it believes it.

Written from the specification and from none of our own code that signs.
"""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping

#: How far the time of an attempt may be from the receiver's own, in seconds.
TOLERANCE = 5 * 60

_PREFIX = "whsec_"
_SHORTEST_KEY, _LONGEST_KEY = 24, 64


def read_secret(secret: str) -> bytes:
    """Return the key that a secret stands for. Raises ValueError, which does not repeat it."""
    try:
        key = b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(_PREFIX) or not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        msg = f"give {_PREFIX} and {_SHORTEST_KEY} to {_LONGEST_KEY} random bytes in base64"
        raise ValueError(msg)
    return key


def judge_signature(key: bytes, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
    """Return what is wrong with a request, or None; `now` is in seconds since 1970 UTC.

    The names of headers are in lower case. Of several signatures one has to fit: a sender that changes
    its secret gives one for each.
    """
    missing = [
        name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if name not in headers
    ]
    if missing:
        return f"{missing[0]} is missing"
    identity, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if not timestamp.isascii() or not timestamp.isdecimal():
        return "webhook-timestamp is no number of seconds"
    if abs(int(timestamp) - now) > TOLERANCE:
        return "webhook-timestamp is more than five minutes off"
    signed = f"{identity}.{timestamp}.".encode("latin-1") + body
    right = "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode()
    return None if right in headers["webhook-signature"].split(" ") else "webhook-signature does not fit"
