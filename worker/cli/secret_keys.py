"""`siem secrets`: which key of SIEM_SECRET_KEYS sealed each secret, and sealing with the first of them."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from worker.broker.conflicts import standing_documents
from worker.broker.connection import Client, redis_client
from worker.broker.key_holders import KeyHolder, key_holders, lacking_key
from worker.cli.output import as_json_option, count_text, plain, print_json, print_table
from worker.cli.stores import configuration, integration_store, ledger, operator, refresh_integrations
from worker.ledger.resealing import reseal_secrets, sealed_secrets
from worker.model.errors import BrokerUnavailable, InvalidSetting
from worker.vault.sealed_secrets import Binding, SealedSecret, secrets_in_document
from worker.vault.vault import Vault, new_key, open_vault

_T = TypeVar("_T")


@click.group("secrets")
def secrets_() -> None:
    """See which keys sealed the integrations' secrets, and rotate these keys.

    \b
    1. siem secrets new-key, and add it to SIEM_SECRET_KEYS behind the others, separated by a comma;
       restart every process: all of them can open now what the new key will seal.
    2. Move it to the front, which is where the key that seals stands, and restart every process.
    3. siem secrets reseal
    4. Once siem secrets status exits with 0, remove the old keys. Keep them as long as you keep backups of
       the database that are older.

    While SIEM_SECRET_KEYS is not set, the only key is the one in SIEM_DATA_DIR/secret.key: begin with that.
    """


@secrets_.command("new-key")
def new_key_() -> None:
    """Print a new key for SIEM_SECRET_KEYS. It is stored nowhere.

    \b
    siem secrets new-key
    """
    click.echo(new_key())


@secrets_.command()
@as_json_option
def status(*, as_json: bool) -> None:
    """Show which key sealed each secret, in the ledger and in the copy that workers read from Redis.

    Keys are named by a fingerprint: the first 8 digits of their SHA-256. Exits with 0 if the first key has
    sealed all secrets, each for the address that it is sent to, no process is known to lack it and no API to
    seal with another one, so that the others can be removed; else with 1.

    \b
    siem secrets status
    siem secrets status --json
    """
    vault = open_vault(configuration())
    found = _look(vault)
    if as_json:
        print_json(_document(vault, found))
    else:
        _print_keys(vault, found)
        _print_secrets(vault, found)
        for sentence in _sentences(found, len(vault.fingerprints)):
            click.echo(plain(sentence))
    if not found.is_finished:
        sys.exit(1)


@secrets_.command()
@click.option("--confirm", is_flag=True, help="Do it although a process lacks that key, or cannot be asked.")
@as_json_option
def reseal(*, as_json: bool, confirm: bool) -> None:
    """Seal with the first key of SIEM_SECRET_KEYS what an older one has sealed, or an earlier release.

    Every worker and every API must have that key by now (step 1 of `siem secrets --help`); nothing is changed
    while one lacks it. Deliveries go on meanwhile. Doing it twice, or again after it was interrupted, does no
    harm. Exits with 1 if a secret is left that none of the keys opens, or that was sealed for another address
    or integration than the one where it stands.

    \b
    siem secrets reseal
    """
    vault = open_vault(configuration())
    if not confirm:
        _require_key_everywhere(vault.fingerprints[0])
    with integration_store() as store:
        done = reseal_secrets(store.engine, vault, by=operator())
        left = [one for one in sealed_secrets(store.engine, vault) if not one.is_current]
        refresh_integrations(store)
    if as_json:
        print_json(
            {
                "resealed": [_secret(vault, one._replace(key=0)) for one in done],
                "left": [_secret(vault, one) for one in left],
            }
        )
    else:
        where = count_text(len({one.integration_id for one in done}), "integration")
        click.echo(f"Sealed {count_text(len(done), 'secret')} of {where} with key {vault.fingerprints[0]}.")
        for one in left:
            click.echo(f"Warning: {plain(_left(one))}.", err=True)
    if left:
        sys.exit(1)


def _require_key_everywhere(fingerprint: str) -> None:
    """End unless every living process that opens secrets has that key, as far as it reports it."""
    try:
        lacking = [one.words() for one in _asked(lambda client: lacking_key(client, fingerprint))]
    except (BrokerUnavailable, InvalidSetting) as error:
        raise click.ClickException(
            f"nothing is changed: whether every process has key {fingerprint} cannot be asked ({error}); "
            "--confirm does it all the same"
        ) from None
    if lacking:
        raise click.ClickException(
            f"nothing is changed: these processes could not open what key {fingerprint} seals: "
            f"{'; '.join(lacking)}. Restart them with it in SIEM_SECRET_KEYS, or give --confirm"
        )


def _asked(ask: Callable[[Client], _T]) -> _T:
    """Ask Redis. Raises BrokerUnavailable, InvalidSetting."""
    client = redis_client(configuration().broker_address())
    try:
        return ask(client)
    finally:
        client.close()


@dataclass(frozen=True, slots=True)
class _Found:
    """The secrets of the ledger; of its copy in Redis; who opens them; and why Redis could not be asked.

    Of those who open secrets, `lacking` certainly cannot open what is sealed now, and `older` certainly go on
    to seal with another key.
    """

    ledger: list[SealedSecret]
    redis: list[SealedSecret]
    holders: list[KeyHolder]
    lacking: list[KeyHolder]
    older: list[KeyHolder]
    trouble: str | None

    @property
    def is_finished(self) -> bool:
        """Whether the first key has sealed everything, everywhere, and will, and no process lacks it."""
        stands_well = all(one.is_current for one in (*self.ledger, *self.redis))
        return self.trouble is None and stands_well and not self.lacking and not self.older

    @property
    def unknown(self) -> list[SealedSecret]:
        """Secrets of integrations that stand in Redis and not in the ledger."""
        known = {one.integration_id for one in self.ledger}
        return [one for one in self.redis if one.integration_id not in known]

    @property
    def copies(self) -> int:
        """Count the integrations whose copy in Redis is not renewed yet."""
        behind = {one.integration_id for one in self.redis if not one.is_current}
        stale = (one for one in (*self.ledger, *self.unknown) if not one.is_current)
        return len(behind - {one.integration_id for one in stale})


def _look(vault: Vault) -> _Found:
    with ledger() as engine:
        found = sealed_secrets(engine, vault)
    try:
        documents, holders = _asked(standing_documents), _asked(key_holders)
    except (BrokerUnavailable, InvalidSetting) as error:
        return _Found(found, [], [], [], [], str(error))
    copies = [one for document in documents for one in secrets_in_document(document, vault)]
    first = vault.fingerprints[0]
    lacking = [one for one in holders if one.lacks(first)]
    older = [one for one in holders if one.seals_otherwise(first) and not one.lacks(first)]
    return _Found(found, copies, holders, lacking, older, None)


#: Who sealed what none of the keys opens.
_KEYLESS = {Binding.CLEAR: "not sealed", Binding.UNKNOWN: "a key that is not here"}


def _print_keys(vault: Vault, found: _Found) -> None:
    numbers = Counter(one.key for one in found.ledger if one.binding is not Binding.CLEAR)
    rows: list[list[Any]] = [
        [place + 1, fingerprint, "seals and opens" if place == 0 else "opens", numbers[place]]
        for place, fingerprint in enumerate(vault.fingerprints)
    ]
    if numbers[None]:
        rows.append([None, "not here", "", numbers[None]])
    print_table(["key", "fingerprint", "use", "secrets"], rows, empty="")


def _print_secrets(vault: Vault, found: _Found) -> None:
    click.echo()
    print_table(
        ["integration", "tenant", "secret", "sealed by"],
        [
            [one.name, one.tenant_id, one.path, _fingerprint(vault, one) or _KEYLESS[one.binding]]
            for one in found.ledger
        ],
        empty="No integration has a secret.",
    )
    click.echo()


def _sentences(found: _Found, keys: int) -> list[str]:
    """Return what is left to do."""
    older = sum(bool(one.key) for one in found.ledger)
    lines = []
    if older:
        lines.append(f"An older key sealed {count_text(older, 'secret')}: `siem secrets reseal`.")
    if unbound := sum(one.binding is Binding.UNBOUND for one in found.ledger):
        lines.append(
            f"An earlier release sealed {count_text(unbound, 'secret')}, bound to no address: a recorder "
            "binds that within seconds, as does `siem secrets reseal`."
        )
    if clear := sum(one.binding is Binding.CLEAR for one in found.ledger):
        lines.append(
            f"{count_text(clear, 'url')} with a query left in the clear by an earlier release: a recorder "
            "seals that once no API of that release runs, as does `siem secrets reseal` at once."
        )
    lines += [f"{_left(one)}." for one in found.ledger if one.binding in {Binding.UNKNOWN, Binding.MOVED}]
    if found.copies:
        lines.append(
            f"The copy in Redis of {count_text(found.copies, 'integration')} is not renewed yet: a recorder "
            "does it within seconds."
        )
    lines += [
        f"{one} stands in Redis and not in the ledger: adopt or delete it with `siem integrations orphans`."
        for one in dict.fromkeys(f"{one.name} ({one.integration_id})" for one in found.unknown)
    ]
    lines += [
        f"{one.words()} lacks the first key: restart it with that in SIEM_SECRET_KEYS, or it cannot open "
        "what is sealed from now on."
        for one in found.lacking
    ]
    lines += [
        f"{one.words()} seals with another key: restart it with the first key in front in SIEM_SECRET_KEYS."
        for one in found.older
    ]
    if found.trouble:
        lines.append(f"The copy in Redis was not checked: {found.trouble}.")
    if keys == 1:
        return lines or ["This key has sealed all secrets."]
    return lines or ["The first key has sealed all secrets: the other keys can be removed."]


def _left(one: SealedSecret) -> str:
    """Return what keeps a secret from being used, and a hint."""
    if one.binding is Binding.MOVED:
        return (
            f"{one.path} of {one.name} ({one.integration_id}) was sealed for another address or another "
            "integration, so it is not used: the ledger was modified directly; set it again with "
            f"`siem integrations update {one.integration_id}`"
        )
    return (
        f"None of the keys opens {one.path} of {one.name} ({one.integration_id}): add the key that sealed "
        f"it, or set it again with `siem integrations update {one.integration_id}`"
    )


def _document(vault: Vault, found: _Found) -> dict[str, Any]:
    return {
        "finished": found.is_finished,
        "keys": list(vault.fingerprints),
        "ledger": [_secret(vault, one) for one in found.ledger],
        "processes": [
            {"roles": list(one.roles), "name": one.name, "keys": None if one.keys is None else list(one.keys)}
            for one in found.holders
        ],
        "redis": None if found.trouble else [_secret(vault, one) for one in found.redis],
    }


def _secret(vault: Vault, one: SealedSecret) -> dict[str, Any]:
    return {
        "integration_id": one.integration_id,
        "name": one.name,
        "tenant_id": one.tenant_id,
        "secret": one.path,
        "sealed_by": _fingerprint(vault, one),
        "binding": one.binding.value,
    }


def _fingerprint(vault: Vault, one: SealedSecret) -> str | None:
    return None if one.key is None else vault.fingerprints[one.key]
