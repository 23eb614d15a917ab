"""If-Match: the version of an integration that somebody has seen (RFC 9110, 13.1.1)."""

import re
from typing import Annotated

from fastapi import Header

from worker.model.errors import InvalidInput

IfMatch = Annotated[
    str | None,
    Header(description="The ETag of what you have seen: if it has changed since, 412 and nothing is done."),
]

_TAG = re.compile(r'(W/)?"([!#-~\x80-\xff]*)"')
_REVISION = re.compile(r"[0-9]{1,18}")


def seen_in(if_match: str | None) -> frozenset[int] | None:
    """Return the revisions that a request knows; None if any will do. Raises InvalidInput."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = [_TAG.fullmatch(part.strip()) for part in if_match.split(",")]
    if None in tags:
        raise InvalidInput("If-Match", "is no list of ETags", 'give the ETag of an answer, such as "3", or *')
    # A weak tag never matches here.
    return frozenset(int(tag[2]) for tag in tags if tag and not tag[1] and _REVISION.fullmatch(tag[2]))
