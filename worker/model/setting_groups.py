"""The settings that bound what requests may hold of the API; `worker.settings` reads them with the others."""

from typing import Annotated

from pydantic import BaseModel, Field

from worker.model.durations import SocketSeconds


class ApiSettings(BaseModel):
    """Bodies and connections of one process of the API."""

    api_body_bytes: Annotated[
        int,
        Field(ge=1024, description="The largest body of a request, and the largest that it may unpack to."),
    ] = 16_777_216
    api_body_seconds: Annotated[
        SocketSeconds, Field(gt=0, description="The longest that the body of a request may take to come.")
    ] = 30.0
    api_bodies_bytes: Annotated[
        int,
        Field(
            ge=1024,
            description="The memory for the bodies of all requests under way in one process of the API, in "
            "bytes; never less than four times `SIEM_API_BODY_BYTES`. A tenant may hold as much of it as is "
            "still free, one key half as much.",
        ),
    ] = 268_435_456
    api_connections: Annotated[
        int,
        Field(
            ge=10,
            le=100_000,
            description="Connections to one process of the API at once. An address may have as many as are "
            "still free; one of `SIEM_API_TRUSTED_PROXIES` all of them.",
        ),
    ] = 1000

    @property
    def all_bodies_bytes(self) -> int:
        """The memory for the bodies of all requests under way, in bytes: room for three large ones."""
        return max(self.api_bodies_bytes, 4 * self.api_body_bytes)
