"""A type of destination with a field of every shape, registered on import: import it before any door."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from worker.destinations import DestinationType
from worker.destinations.registry import add
from worker.integrations import DestinationConfig
from worker.integrations.destination import BatchBytes, BatchEvents, TimeoutSeconds
from worker.integrations.fields import Described


class Anonymous(BaseModel):
    """No proof is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["anonymous"] = "anonymous"


class Password(BaseModel):
    """A user's password."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["user_password"] = "user_password"
    user: Annotated[str, Described(label="User", help="the user to log in as", advanced=False)] = "siem"
    password: Annotated[SecretStr, Described(label="Password", help="the user's password", advanced=False)]


class Lake(DestinationConfig):
    """A data lake."""

    type: Literal["lake"] = "lake"
    url: Annotated[
        str,
        Described(
            label="Address",
            help="where the SIEM listens",
            addresses=("lake://lake.example.com", "lakes://lake.example.com"),
            advanced=False,
        ),
    ]
    table: Annotated[str, Described(label="Table", help="the table to append to", advanced=False)]
    login: Annotated[
        Anonymous | Password,
        Field(discriminator="kind"),
        Described(label="Login", help="how we log in", words={"anonymous": "Not at all"}, advanced=False),
    ] = Anonymous()
    key: Annotated[SecretStr, Described(label="Lake key", help="the key of the lake", advanced=False)]
    write_token: Annotated[SecretStr | None, Described(label="Write token", help="a token to write with")] = (
        None
    )
    mode: Annotated[Literal["append", "merge"], Described(label="Mode", help="how rows are added")] = "append"
    merge_on: Annotated[
        tuple[str, ...],
        Described(label="Merge on", help="a column that tells rows apart", when=("mode", "merge")),
    ] = ()
    is_strict: Annotated[bool, Described(label="Strict", help="whether unknown columns are refused")] = True
    shards: Annotated[int, Field(ge=1, le=9), Described(label="Shards", help="how many shards there are")] = 2
    pause_seconds: Annotated[float, Described(label="Pause", help="how long to rest", over="TLS")] = 0.5
    tags: Annotated[
        dict[str, str], Field(default_factory=dict), Described(label="Tags", help="a tag of each row")
    ]
    batch_events: BatchEvents = 10
    batch_bytes: BatchBytes = 900_000
    timeout_seconds: TimeoutSeconds = 20.0

    SCHEMES: ClassVar[Mapping[str, str]] = {"lake": "TCP", "lakes": "TLS"}
    PORTS: ClassVar[Mapping[str, int]] = {"lake": 1, "lakes": 2}


add(
    DestinationType(Lake, label="Lake", summary="A lake.", sender="nothing:Nothing", checks="nothing:Nothing")
)
