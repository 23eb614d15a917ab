"""FastAPI's way to the caller of a route, and to what the doors share."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from worker.api.load import load_of
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.model.api_keys import ApiKey, Role
from worker.model.audit import Actor, ActorKind, key_actor

_bearer = HTTPBearer(auto_error=False, description="An API key, as `siem api-keys create` prints it.")


async def shared(request: Request) -> Resources:
    """Return what the doors of this process share."""
    resources: Resources = request.app.state.resources
    return resources


Shared = Annotated[Resources, Depends(shared)]


async def _caller(
    request: Request,
    resources: Shared,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> ApiKey:
    if credentials is None:
        raise Problem(
            401,
            "Authorization: is missing; send `Bearer <API key>`",
            headers={"WWW-Authenticate": "Bearer"},
            field="Authorization",
        )
    key = await resources.access.admit(credentials.credentials, host_of(request))
    load_of(request).belongs_to(key)
    return key


async def _actor(request: Request, caller: Annotated[ApiKey, Depends(_caller)]) -> Actor:
    return key_actor(ActorKind.API, caller, host_of(request))


def host_of(request: Request) -> str:
    """Return the address that the request came from, as a proxy of ours says if there is one."""
    return request.client.host if request.client else ""


def _only(*roles: Role) -> Callable[[ApiKey], Awaitable[ApiKey]]:
    async def check(caller: Annotated[ApiKey, Depends(_caller)]) -> ApiKey:
        if caller.role not in roles:
            allowed = " or ".join(role.value for role in roles)
            raise Problem(403, f"this API key is {caller.role.value}", hint=f"use a key that is {allowed}")
        return caller

    return check


#: The caller of a route, turned away unless the key may do that.
Admin = Annotated[ApiKey, Depends(_only(Role.ADMIN))]
Reader = Annotated[ApiKey, Depends(_only(Role.ADMIN, Role.READ_ONLY))]
Publisher = Annotated[ApiKey, Depends(_only(Role.ADMIN, Role.PUBLISH_ONLY))]
#: The same, as the audit trail names it.
By = Annotated[Actor, Depends(_actor)]
Anyone = Annotated[ApiKey, Depends(_only(*Role))]
