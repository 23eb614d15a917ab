"""The keys of the CEF extension: their order, the longest value of each, and which leave a message first."""

from collections.abc import Callable
from dataclasses import dataclass

from worker.destinations.syslog_cef.values import cut_id, cut_number, cut_object, cut_text

#: The longest name in the header, in characters (ArcSight CEF standard, `name`).
LONGEST_NAME = 512


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `most` is the longest value in characters, as the ArcSight extension dictionary has it.

    A custom key never goes without its `label`: a reader takes a value without one for a mistake. `cut` is
    what makes a longer value fit.
    """

    name: str
    most: int
    label: str = ""
    cut: Callable[[str, int], str] = cut_text

    @property
    def lead(self) -> str:
        """All that stands before the value, the blank that ends the value before included."""
        return f" {self.name}Label={self.label} {self.name}=" if self.label else f" {self.name}="


#: The label of what was repaired in an event (`worker.model.untrusted_json`).
REPAIRED = "repaired"

#: In the order in which they are written. SIEMs deduplicate on `devicePayloadId`: the longest id fits there.
KEYS = (
    Key("rt", 20),
    Key("act", 63),
    Key("outcome", 63),
    Key("externalId", 40, cut=cut_id),
    Key("devicePayloadId", 128, cut=cut_id),
    Key("suid", 1023, cut=cut_id),
    Key("suser", 1023),
    Key("src", 1023, cut=cut_id),
    Key("cat", 1023),
    Key("deviceExternalId", 255, cut=cut_id),
    Key("cs1", 4000, "driftScore"),
    Key("cfp1", 400, "driftScore", cut=cut_number),
    Key("cs2", 4000, "behavioralHash", cut=cut_id),
    Key("cs3", 4000, "policyId", cut=cut_id),
    Key("cs4", 4000, "behavioralHashDelta"),
    Key("cs5", 4000, "hold", cut=cut_object),
    Key("requestContext", 2048, cut=cut_object),
    Key("reason", 1023),
    Key("msg", 1023),
    Key("flexString2", 1023, REPAIRED),
)

#: What leaves a message that is too long, one after the other, until it fits. The id stays in another key.
FIRST_TO_LEAVE = (
    *("msg", "reason", "requestContext", "cs5", "cs4", "cs3", "cfp1", "cs2", "cs1"),
    *("suser", "deviceExternalId", "cat", "src", "flexString2", "externalId"),
)

#: What a message says of itself when something was left out or shortened.
TRUNCATED = " flexString1Label=truncated flexString1=true"
