"""A secret whose key is gone: the admin reads which one, and that a new one replaces it."""

import json

import pytest

from tests.browser.driving import Browser
from tests.pages.conftest import HOME, OURS, Site
from tests.receivers.hec import HecReceiver
from worker.integrations.integration import Integration
from worker.ledger.integrations import IntegrationStore
from worker.vault.vault import Vault, new_key, open_vault

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOKEN = "11111111-2222-3333-4444-5555555555f3"


def test_a_secret_whose_key_is_gone_is_replaced(browser: Browser, staged: Site) -> None:
    """The list, the form and the test say what is wrong; a new value is taken, and the test passes."""
    with HecReceiver() as splunk:
        integration = staged.fleet.integrate(splunk.url, "keyless", tenant_id=OURS)
        _lose_key_of(staged, integration)
        browser.go(HOME)
        browser.read("keyless")
        browser.go(f"{HOME}/{integration.id}/edit")
        browser.read("it cannot be opened any more: set it again")
        browser.press("Test connection")
        browser.read("token cannot be opened: SIEM_SECRET_KEYS here lacks the key that sealed it", "#steps")
        browser.photograph("secret-without-its-key")
        browser.fill("token", TOKEN)
        browser.press("Save")
        browser.read("keyless")
        browser.go(f"{HOME}/{integration.id}/edit")
        assert "cannot be opened" not in browser.text()


def _lose_key_of(site: Site, integration: Integration) -> None:
    """Seal its secrets with a key that no one keeps."""
    own = (site.fleet.directory / "secret.key").read_text().strip()
    engine = site.fleet.engine
    IntegrationStore(engine, Vault([new_key(), own])).of(OURS).change(integration.id, lambda one: one)
    [document] = [one.document for one in site.fleet.store.records() if one.id == integration.id]
    assert (
        open_vault(site.fleet.settings).key_of(json.loads(document)["destination"]["token"]["$sealed"])
        is None
    )
