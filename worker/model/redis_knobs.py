"""The settings that concern Redis alone; `worker.settings` reads them with the others."""

from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from worker.model.redis_checks import ACCEPTABLE


class RedisSettings(BaseModel):
    """What an operator accepts of Redis."""

    redis_accept: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(
            description="Checks of Redis, separated by commas, whose failure only warns: `persistence` where "
            "a provider keeps writes safe without an append-only file, `eviction`."
        ),
    ] = ()

    @field_validator("redis_accept", mode="before")
    @classmethod
    def _names_checks(cls, text: object) -> object:
        if not isinstance(text, str):
            return text
        names = tuple(part.strip() for part in text.split(",") if part.strip())
        if unknown := [name for name in names if name not in ACCEPTABLE]:
            msg = (
                f"{unknown[0]!r} is no check that can be accepted; these are: {', '.join(sorted(ACCEPTABLE))}"
            )
            raise ValueError(msg)
        return names
