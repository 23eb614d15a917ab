"""What a user typed into a form that was not saved: sealed, kept, and put into the form again.

Input: a form with its token. Output: the same fields, for the same tenant alone; and secrets, for the
same API key alone. No page ever shows a secret: the form says that it is kept.

A form holds an integration, or an event: what is twice as long as either may be is not kept. Nor is more of
one tenant kept than so many of these, for any user may send forms that are refused.
"""

from collections.abc import Iterable
from typing import Annotated, cast

import msgspec
from fastapi import Depends, Request
from starlette.datastructures import FormData

from worker.api.callers import Shared
from worker.api.pools import work
from worker.api.resources import Resources
from worker.broker.sessions import Drafts
from worker.integrations import CONFIGS
from worker.integrations.secrets import masked_url
from worker.model.errors import SecretUnreadable
from worker.model.events import MAX_EVENT_BYTES
from worker.model.untrusted_json import DAMAGED
from worker.pages.form_fields import all_fields
from worker.pages.form_tokens import FORM_FIELD, FormToken, token_in
from worker.pages.form_values import FORGET, text_of
from worker.pages.sessions import CSRF_FIELD, CsrfForm, Editor, User

#: The fields of any type's form that hold a secret.
SECRET_FIELDS = frozenset(
    field.name for kind in CONFIGS for field in all_fields(kind) if field.shape.is_secret
)
#: Shown where a draft is asked for that is not there.
GONE = (
    "Your input is no longer kept: it is for half an hour, and for less if it is very "
    "long or if many forms were not saved."
)
#: How many of the longest drafts of one tenant are kept. Sealed, one is up to eight times as long: control
#: characters are six in JSON, and the seal is in base64.
_MOST_KEPT = 16
_NO_DRAFT = frozenset({CSRF_FIELD, FORM_FIELD})


class Draft(msgspec.Struct, frozen=True):
    """What was typed, and the token of the form that it was typed into."""

    token: FormToken
    fields: list[tuple[str, str]]

    @property
    def form(self) -> FormData:
        """What was typed, as a form."""
        return FormData([(name, text) for name, text in self.fields])


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Draft).decode


async def _typed(request: Request, resources: Shared, user: Editor, form: CsrfForm) -> FormData:
    """Return the form with its kept secrets; `request.state` has it for who answers an error."""
    # There as well if no thread is free for the look at what is kept.
    request.state.typed = form
    request.state.typed = await work(user.tenant_id, with_kept_secrets, resources, user, form)
    return cast("FormData", request.state.typed)


#: A parameter of routes: a form of many fields, in which a secret may be one kept from the last attempt.
Typed = Annotated[FormData, Depends(_typed)]


def keep_draft(resources: Resources, token: FormToken, form: FormData) -> bool:
    """Keep all that was typed, for half an hour; False if it is too long. Raises BrokerUnavailable."""
    return _keep(resources, token, [(name, str(value)) for name, value in form.multi_items()])


def keep_secrets(resources: Resources, token: FormToken, form: FormData) -> frozenset[str]:
    """Keep the secrets that were typed, and return their fields; the page itself shows all else."""
    typed = [(name, text) for name in sorted(SECRET_FIELDS) if (text := text_of(form, name))]
    is_kept = bool(typed) and _keep(resources, token, typed)
    return frozenset(name for name, _ in typed) if is_kept else frozenset()


def find_draft(resources: Resources, user: User, name: str) -> Draft | None:
    """Return what this user's tenant typed; its secrets only to the key that they were typed with."""
    sealed = _drafts(resources).find(name) if name else None
    if sealed is None:
        return None
    try:
        draft = _decode(resources.vault.open_bound(sealed, _place(name)))
    except (SecretUnreadable, *DAMAGED):
        return None
    if draft.token.tenant_id != user.tenant_id:
        return None
    if draft.token.key_id == user.key_id:
        return draft
    return Draft(draft.token, [_without_values(*one) for one in draft.fields if one[0] not in SECRET_FIELDS])


def _without_values(field: str, text: str) -> tuple[str, str]:
    """Return what another key may see of a field: the query of a url may hold credentials."""
    return field, masked_url(text) if field == "url" else text


def with_kept_secrets(resources: Resources, user: User, form: FormData) -> FormData:
    """Return the form, in which a secret that was left empty is the one kept from the last attempt."""
    token = token_in(form, resources.vault)
    draft = find_draft(resources, user, token.name) if token else None
    if draft is None:
        return form
    kept = {
        name: text
        for name, text in draft.fields
        if name in SECRET_FIELDS and not text_of(form, name) and FORGET + name not in form
    }
    return FormData([*((name, text) for name, text in form.multi_items() if name not in kept), *kept.items()])


def forget_draft(resources: Resources, token: FormToken | None) -> None:
    """Forget what was typed: it was saved."""
    if token is not None:
        _drafts(resources).forget(token.tenant_id, token.name)


def _keep(resources: Resources, token: FormToken, fields: Iterable[tuple[str, str]]) -> bool:
    draft = Draft(token, [(name, text) for name, text in fields if name not in _NO_DRAFT])
    if sum(len(name) + len(text.encode(errors="replace")) for name, text in draft.fields) > _most(resources):
        return False
    sealed = resources.vault.seal(_encode(draft).decode(), _place(token.name))
    _drafts(resources).keep(token.tenant_id, token.name, sealed)
    return True


def _drafts(resources: Resources) -> Drafts:
    return Drafts(resources.client, _MOST_KEPT * _most(resources))


def _most(resources: Resources) -> int:
    """Return the most bytes of a form that is kept."""
    return 2 * max(resources.config.integration_bytes, MAX_EVENT_BYTES)


def _place(name: str) -> str:
    """Return what a draft is bound to: who writes to Redis cannot have another text opened for it."""
    return f"draft of the form {name}"
