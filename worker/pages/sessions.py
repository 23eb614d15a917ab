"""Who looks at a page: a cookie becomes a user, or the way to the sign-in page.

Input: a request. Output: a Visitor, whose forms carry what proves that they are ours. Sessions stand in
Redis under the digest of their token and name an API key; tenant and role are that key's, as the ledger has
it, so a key that was revoked ends its sessions within seconds.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request
from starlette.datastructures import FormData

from worker.api.callers import Shared, host_of
from worker.api.limits import origin_of
from worker.api.load import load_of
from worker.api.pools import SESSIONS, PoolFull, crowded
from worker.api.problems import Problem
from worker.broker.sessions import Session
from worker.model.api_keys import Role
from worker.model.audit import FLEET, Actor, ActorKind, key_actor
from worker.model.errors import SiemError
from worker.pages.form_tokens import FormToken, token_in
from worker.vault.vault import Vault

COOKIE = "siem_session"
HOME = "/settings/integrations"
SIGN_IN = "/sign-in"
#: The field of a form, and the header of htmx, that carry the session's proof.
CSRF_FIELD, CSRF_HEADER = "csrf", "X-CSRF-Token"
#: Fields of one form at the most.
_MOST_FIELDS = 400


class NotSignedIn(SiemError):
    """No user is signed in."""

    def __init__(self, wanted: str) -> None:
        """Remember where the user wanted to go."""
        super().__init__()
        self.location = sign_in_to(wanted)


class SessionReplaced(SiemError):
    """A form is from another session than the one that stands: a user has signed in since it was shown."""

    def __init__(self, token: FormToken, form: FormData, *, is_ours: bool) -> None:
        """Take what was typed; `is_ours` is whether it was shown to the tenant that is signed in now."""
        super().__init__()
        self.token, self.form, self.is_ours = token, form, is_ours


def sign_in_to(wanted: str, why: str = "") -> str:
    """Return where to sign in and then go on to the page that was wanted."""
    return f"{SIGN_IN}?next={quote(wanted, safe='')}" + (f"&why={why}" if why else "")


@dataclass(frozen=True, slots=True)
class User:
    """A user who signed in."""

    tenant_id: str
    role: Role
    csrf: str
    token: str
    key_id: str
    vault: Vault = field(repr=False)
    #: As the audit trail names this user.
    actor: Actor = FLEET

    def form_token(self, place: str = "", seen: Mapping[str, str] | None = None) -> FormToken:
        """Make the token of a form that is shown; see FormToken.of."""
        return FormToken.of(self.tenant_id, self.key_id, place, seen)

    def sealed(self, token: FormToken | None = None) -> str:
        """Return what carries a token in a form: one of a button unless another is given."""
        return (token or self.form_token()).sealed(self.vault)

    def token_of(self, form: FormData) -> FormToken | None:
        """Return the token of a form that was shown to the very key that is signed in."""
        token = token_in(form, self.vault)
        return token if token is not None and self.owns(token) else None

    def owns(self, token: FormToken) -> bool:
        """Whether a form was shown to the very key that is signed in."""
        return (token.tenant_id, token.key_id) == (self.tenant_id, self.key_id)

    @property
    def may_change(self) -> bool:
        """Whether there is anything but reading to be done."""
        return self.role is Role.ADMIN


async def _user(request: Request, resources: Shared) -> User:
    token = request.cookies.get(COOKIE, "")
    session = await _find_session(resources, origin_of(host_of(request)), token) if token else None
    key = await resources.access.standing(session.key_id) if session else None
    if session is None or key is None or key.role is Role.PUBLISH_ONLY:
        raise NotSignedIn(wanted_by(request))
    load_of(request).belongs_to(key)
    actor = key_actor(ActorKind.PAGE, key, host_of(request))
    return User(key.tenant_id, key.role, session.csrf, token, key.id, resources.vault, actor)


async def _find_session(resources: Shared, origin: str, token: str) -> Session | None:
    """Return the session of a token, if there is one. Raises a Problem when too many ask from there."""
    try:
        return await SESSIONS.run(origin, resources.sessions.find, token)
    except PoolFull as full:
        raise crowded(full, "requests", "address", origin) from None


def wanted_by(request: Request) -> str:
    """Return where to go after the sign-in: what was asked for, if asking again does no harm."""
    if request.method != "GET" or "hx-request" in request.headers:
        return safe_place(urlsplit(request.headers.get("referer", "")).path)
    return safe_place(str(request.url.path) + (f"?{request.url.query}" if request.url.query else ""))


def safe_place(path: str) -> str:
    """Return the path if it is one of ours, else the list: no link may lead elsewhere."""
    parts = urlsplit(path)
    ours = path.startswith(HOME) and not parts.scheme and not parts.netloc and path.isprintable()
    return path if ours and "\\" not in path else HOME


async def _posted(request: Request, resources: Shared, user: Annotated[User, Depends(_user)]) -> FormData:
    """Return a form that this user's own page has sent. Raises Problem, FormOutlived."""
    refuse_foreign(request)
    form = await fields_of(request)
    proof = request.headers.get(CSRF_HEADER) or form.get(CSRF_FIELD)
    if not isinstance(proof, str) or not hmac.compare_digest(proof.encode(), user.csrf.encode()):
        token = token_in(form, resources.vault)
        if token is not None and token.place:
            raise SessionReplaced(token, form, is_ours=token.tenant_id == user.tenant_id)
        raise Problem(403, "this form was not sent from a page of yours", hint="load the page again")
    return form


async def _changing(user: Annotated[User, Depends(_user)]) -> User:
    if not user.may_change:
        raise Problem(403, "your key is read-only", hint="sign in with an admin key")
    return user


async def fields_of(request: Request) -> FormData:
    """Read a form of text fields. Raises Problem when it is none."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise Problem(415, "a form is application/x-www-form-urlencoded")
    return await request.form(max_files=0, max_fields=_MOST_FIELDS)


def refuse_foreign(request: Request) -> None:
    """Turn away what another site had sent. Raises Problem.

    Browsers say so themselves, by `Sec-Fetch-Site` and `Origin`; the proof in the form is for the others.
    """
    if request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        raise Problem(403, "this form was sent from another site")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Problem(403, "this form was sent from another site")


#: Parameters of routes: who looks; who changes; and the form, once it has proved to be ours.
Viewer = Annotated[User, Depends(_user)]
Editor = Annotated[User, Depends(_changing)]
CsrfForm = Annotated[FormData, Depends(_posted)]
