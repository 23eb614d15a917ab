"""Secrets that stand sealed in the ledger, and that cannot be opened here.

Either none of the keys at hand opens one, or it was sealed for another place (`worker.vault.places`).
It stands in the place of a `SecretStr`, so that the integration can still be listed, changed, paused and
saved: what cannot be opened is written back sealed as it is.

A url whose query may hold credentials, as `?key=`, `?sig=` or `?token=` do.

Names of parameters do not say which values are secret, so all of them are: they are sealed at rest
and shown as `?key=…`. The path is shown.
"""

from collections import defaultdict
from typing import Any, NoReturn, Self

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

from worker.model.errors import InvalidIntegration, SecretUnreadable


class UnreadableSecret(SecretStr):
    """A secret of which only the sealed text is known; to ask for its value raises SecretUnreadable.

    `moved` is whether a key opens it, but it was sealed for another place than the one where it stands.
    """

    def __init__(self, sealed: str, *, moved: bool = False) -> None:
        """Keep the sealed text."""
        super().__init__("")
        self.sealed = sealed
        self.moved = moved

    def get_secret_value(self) -> NoReturn:
        """Raise SecretUnreadable."""
        raise SecretUnreadable

    def __eq__(self, other: object) -> bool:
        """Be equal to the same sealed text alone."""
        return isinstance(other, UnreadableSecret) and other.sealed == self.sealed

    def __hash__(self) -> int:
        """Hash the sealed text."""
        return hash(self.sealed)

    def __len__(self) -> int:
        """Hide its length, too."""
        return 0


def is_secret_readable(secret: SecretStr) -> bool:
    """Whether the secret has a value to check and to send."""
    return not isinstance(secret, UnreadableSecret)


#: Stands for a value of the query. No url has it: beyond ASCII all is percent-encoded (RFC 3986, 2.1).
MASK = "…"
_ENCODED_MASKS = ("%E2%80%A6", "%e2%80%a6")
_UNKNOWN = "https://unreadable.invalid/"


class SecretUrl(str):
    """The whole url as text; `repr` does not show the values of its query."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show it masked."""
        return repr(self.masked)

    @property
    def has_query(self) -> bool:
        """Whether there is anything to hide."""
        return bool(self.partition("?")[2])

    @property
    def masked(self) -> str:
        """The url as it may be shown: each value of the query is `…`, as is a part without a name."""
        return masked_url(self)

    def with_kept(self, given: str) -> str:
        """Return what a user gives in its place, with the value that stood there for each `…` of its query.

        It is a SecretUrl if a value was kept, else the text as it was given. Raises InvalidIntegration where
        it does not say which value stays.
        """
        given = _plain(given)
        if MASK not in given.partition("?")[2]:
            return given
        values = defaultdict(list)
        for part in self.partition("?")[2].split("&"):
            values[_masked_part(part)].append(part)
        base, _, query = given.partition("?")
        kept = [_kept(part, values) if MASK in part else part for part in query.split("&")]
        return type(self)(f"{base}?{'&'.join(kept)}")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take any text; what is one already stays what it is."""

        def read(value: Any, handler: core_schema.ValidatorFunctionWrapHandler) -> "SecretUrl":
            return value if isinstance(value, SecretUrl) else SecretUrl(handler(value))

        as_json = core_schema.plain_serializer_function_ser_schema(lambda url: url.masked, when_used="json")
        return core_schema.no_info_wrap_validator_function(
            read, core_schema.str_schema(), serialization=as_json
        )


class UnreadableUrl(SecretUrl):
    """A url of which only the sealed text is known; as text it leads nowhere (RFC 6761, 6.4).

    `moved` is whether a key opens it, but it was sealed for another integration, or for other TLS options.
    """

    __slots__ = ("__dict__",)
    sealed: str
    moved: bool

    def __new__(cls, sealed: str, *, moved: bool = False) -> Self:
        """Keep the sealed text."""
        made = super().__new__(cls, _UNKNOWN)
        made.sealed, made.moved = sealed, moved
        return made

    @property
    def has_query(self) -> bool:
        """There was one, or it would not be sealed."""
        return True

    @property
    def masked(self) -> str:
        """Nothing is known of it."""
        return MASK

    def with_kept(self, given: str) -> str:
        """Return it where nothing but the mask is given, else the text. Raises InvalidIntegration."""
        if given == MASK:
            return self
        if MASK in _plain(given):
            raise _unknown_value()
        return given


def masked_url(url: str, mask: str = MASK) -> str:
    """Return the url with the mask in the place of each value of its query."""
    base, mark, query = url.partition("?")
    return base + mark + "&".join(_masked_part(part, mask) for part in query.split("&"))


def _masked_part(part: str, mask: str = MASK) -> str:
    name, equals, value = part.partition("=")
    if equals:
        return f"{name}={mask}" if value else part
    return mask if part else part


def _plain(given: str) -> str:
    """Write the mask as it was shown: whatever passes a url on may have encoded it."""
    for encoded in _ENCODED_MASKS:
        given = given.replace(encoded, MASK)
    return given


def _kept(part: str, values: dict[str, list[str]]) -> str:
    if not values[part]:
        raise _unknown_value()
    return values[part].pop(0)


def _unknown_value() -> InvalidIntegration:
    return InvalidIntegration(
        "url", f"has {MASK} in its query where no value stood under that name", "give the value itself"
    )
