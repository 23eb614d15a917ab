"""What the fleet's health says of events that were not valid. Pure."""

from collections.abc import Mapping

from worker.model.health import Part
from worker.model.time_words import span
from worker.model.untrusted_text import plain

#: So many tenants are named.
_NAMED = 5


def invalid_part(found: Mapping[str | None, int], seconds: float) -> Part:
    """Return the part `events`: so many were invalid in the last seconds, by tenant, where that is known.

    It names tenants to operators alone. It holds up no event: nothing that a tenant publishes makes the fleet
    unready.
    """
    count = sum(found.values())
    if not count:
        words = f"no invalid one in the last {span(seconds * 1000)}"
        return Part("events", ok=True, words=words, holds_events=False, public=words)
    is_one = count == 1
    public = f"{count} in the last {span(seconds * 1000)} {'was' if is_one else 'were'} not valid"
    largest = sorted(found, key=lambda tenant: -found[tenant])
    named = ", ".join(plain(one) if one else "no known tenant" for one in largest[:_NAMED])
    more = f" and {len(largest) - _NAMED} more" if len(largest) > _NAMED else ""
    words = f"{public}, of {named}{more}: see `siem dead-letters list --cause invalid`"
    return Part("events", ok=False, words=words, holds_events=False, public=public)
