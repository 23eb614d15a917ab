"""The keys of the CEF extension: their order, the longest value of each, and which leave a message first."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `most` is the longest value in characters, as the ArcSight extension dictionary has it.

    A custom key never goes without its `label`: a reader takes a value without one for a mistake.
    """

    name: str
    most: int
    label: str = ""

    @property
    def lead(self) -> str:
        """All that stands before the value, the blank that ends the value before included."""
        return f" {self.name}Label={self.label} {self.name}=" if self.label else f" {self.name}="


#: In the order in which they are written.
KEYS = (
    Key("rt", 20),
    Key("act", 63),
    Key("outcome", 63),
    Key("externalId", 40),
    Key("devicePayloadId", 128),
    Key("suid", 1023),
    Key("suser", 1023),
    Key("src", 1023),
    Key("cat", 1023),
    Key("deviceExternalId", 255),
    Key("cs1", 4000, "driftScore"),
    Key("cfp1", 400, "driftScore"),
    Key("cs2", 4000, "behavioralHash"),
    Key("cs3", 4000, "policyId"),
    Key("cs4", 4000, "behavioralHashDelta"),
    Key("cs5", 4000, "hold"),
    Key("requestContext", 2048),
    Key("reason", 1023),
    Key("msg", 1023),
)

#: What leaves a message that is too long, one after the other, until it fits.
FIRST_TO_LEAVE = (
    *("msg", "reason", "requestContext", "cs5", "cs4", "cs3", "cfp1", "cs2", "cs1"),
    *("suser", "deviceExternalId", "cat", "src"),
)

#: What a message says of itself when something was left out or shortened.
TRUNCATED = " flexString1Label=truncated flexString1=true"
