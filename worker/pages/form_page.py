"""The page of a form: what stands in it, what is wrong with it, and what was saved meanwhile."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fastapi import Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from worker.api.integration_changes import SCHEMA_HINT
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.broker.volumes import volumes_of
from worker.model.errors import InvalidInput, InvalidIntegration, SecretUnreadable
from worker.pages.drafts import keep_secrets
from worker.pages.form_fields import COMMON_FIELDS, EVENT_TYPES, advanced_fields, all_fields, main_fields
from worker.pages.form_tokens import FormToken
from worker.pages.form_values import FormValues, texts_of
from worker.pages.rendering import render
from worker.pages.sessions import HOME, User
from worker.vault.masking import MaskedIntegration


def error_text(error: InvalidInput | SecretUnreadable | Problem) -> str:
    """Return field, reason and hint of all that is wrong; not the hint that only helps who calls the API."""
    if isinstance(error, InvalidInput):
        return "; ".join(f"{one.field}: {_words(one)}" for one in error.all)
    return str(error)


def error_texts(error: InvalidIntegration | Problem) -> dict[str, str]:
    """Return what is wrong with each field, by its path in the API's document; "" is the form as a whole."""
    if isinstance(error, Problem):
        return {str(error.more.get("field", "")): str(error)}
    texts: dict[str, str] = {}
    for one in error.all:
        texts[one.field] = f"{texts[one.field]}; {_words(one)}" if one.field in texts else _words(one)
    return texts


def beside(fields: Iterable[str], texts: dict[str, str]) -> dict[str, str]:
    """Return what is to be said beside each of these fields of a form: also of a part of it, or the whole."""
    return {
        name: "; ".join(said)
        for name in fields
        if (said := [words for path, words in texts.items() if _is_about(path, name)])
    }


def _is_about(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.") or (path != "" and name == f"{path}.kind")


def _words(error: InvalidInput) -> str:
    return error.reason if error.hint == SCHEMA_HINT else f"{error.reason}; {error.hint}"


_UNPROCESSABLE = 422


@dataclass(frozen=True, slots=True)
class FormPage:
    """One form as it is shown.

    `one` is the integration that it changes, `revision` the one that was seen of it. `notice` is shown above
    the form, `wrong` and `notes` beside fields; `kept` are the fields whose secret is kept from before.
    """

    filled: FormValues
    one: MaskedIntegration | None = None
    revision: int | None = None
    token: FormToken | None = None
    notice: str = ""
    wrong: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    status: int = 200

    @property
    def open_fields(self) -> frozenset[str]:
        """The fields that something is said of, and so must be seen."""
        names = [one.name for one in all_fields(self.filled.kind)]
        return self.kept | frozenset(self.notes) | frozenset(beside(names, dict(self.wrong)))

    @property
    def place(self) -> str:
        """Where the form is, and what it is sent to."""
        return f"{HOME}/{self.one.id}/edit" if self.one else f"{HOME}/new/{self.filled.kind}"


def show_form(request: Request, resources: Resources, user: User, page: FormPage) -> Response:
    """Answer with the form; without a token, it gets one that knows what stands in it now."""
    kind = page.filled.kind
    token = page.token or user.form_token(page.place, texts_of(page.filled))
    names = ["name", "event_types", *(one.name for one in all_fields(kind))]
    return render(
        request,
        "form.html",
        user,
        status=page.status,
        page=page,
        filled=page.filled,
        one=page.one,
        revision=page.revision or (page.one.revision if page.one else None),
        token=token,
        main=main_fields(kind),
        advanced=advanced_fields(kind),
        common=COMMON_FIELDS,
        event_types=EVENT_TYPES,
        volumes=volumes_of(resources.client, user.tenant_id),
        wrong=beside(names, dict(page.wrong)),
        unplaced=_unplaced(names, dict(page.wrong)),
        labels={
            "name": "Name",
            "event_types": "Which events",
            **{one.name: one.about.label for one in all_fields(kind)},
        },
    )


def form_with_errors(
    resources: Resources,
    user: User,
    form: FormData,
    page: FormPage,
    error: InvalidIntegration | Problem,
) -> FormPage:
    """Return the form as it was filled in, with all that is wrong; its secrets are kept."""
    token = page.token or user.form_token(page.place)
    return FormPage(
        page.filled,
        page.one,
        page.revision,
        token,
        wrong=error_texts(error),
        kept=keep_secrets(resources, token, form),
        status=error.status if isinstance(error, Problem) else _UNPROCESSABLE,
    )


def _unplaced(names: list[str], wrong: dict[str, str]) -> list[str]:
    """Return what is wrong with no field that the form has."""
    return [
        f"{path}: {words}" if path and not words.startswith(path) else words
        for path, words in wrong.items()
        if not beside(names, {path: words})
    ]
