"""What buttons do to an integration, what the list shows of many, and how an event is found by its id."""

import base64

import msgspec
import pytest

from tests.ledger.entries import NOON, REFUSAL, outcome
from tests.pages.conftest import HOME, OURS, THEIRS, Site
from tests.pages.reading import Fields, Page
from worker.broker import keys
from worker.integrations.webhook import Webhook
from worker.ledger.integrations import IntegrationStore
from worker.ledger.recording import record_entries
from worker.model.deliveries import Status
from worker.model.outcomes import content_of
from worker.vault.vault import Vault, new_key


@pytest.mark.parametrize(
    ("button", "enabled", "paused", "next_button"),
    [
        ("pause", True, True, "resume"),
        ("resume", True, False, "pause"),
        ("disable", False, False, "enable"),
        ("enable", True, False, "pause"),
    ],
)
def test_a_button_does_what_it_says(
    site: Site, button: str, *, enabled: bool, paused: bool, next_button: str
) -> None:
    """And the page then offers the way back."""
    integration = site.integrate(f"button-{button}", paused=button == "resume", enabled=button != "enable")
    visitor = site.visitor()
    visitor.post(f"{HOME}/{integration}/{button}", sure="yes")
    now = site.resources.integrations_of(OURS).get(integration)
    page = visitor.get(f"{HOME}/{integration}")

    assert (now.enabled, now.paused) == (enabled, paused)
    assert page.all("form", action=f"{HOME}/{integration}/{next_button}")


def test_what_is_deleted_is_gone(site: Site) -> None:
    """From the list and by its address."""
    integration = site.integrate("to-be-deleted")
    visitor = site.visitor()
    visitor.post(f"{HOME}/{integration}/delete", sure="yes")

    visitor.get(f"{HOME}/{integration}", 404)
    assert "to-be-deleted" not in visitor.get(HOME, params={"q": "to-be"}).text


def test_a_signing_secret_is_changed_without_a_gap(site: Site) -> None:
    """Shown once; the old one goes on signing until it is dropped, and both can go."""
    integration = site.integrate("signed")
    visitor, place = site.visitor(), f"{HOME}/{integration}"

    def secrets() -> list[str]:
        webhook = site.resources.integrations_of(OURS).get(integration).destination
        assert isinstance(webhook, Webhook)
        return [secret.get_secret_value() for secret in webhook.signing_secrets]

    shown = [Page(visitor.post(place + "/secret/new", status=200, sure="yes").text) for _ in range(3)]
    third, second = secrets()
    assert third in shown[2].text
    assert second in shown[1].text
    assert "signed with two secrets" in visitor.get(place).text
    assert third not in visitor.get(place).markup

    visitor.post(place + "/secret/old", sure="yes")
    assert secrets() == [third]
    visitor.post(place + "/secret/none", sure="yes")
    assert secrets() == []


def test_a_signing_secret_whose_key_is_missing_is_not_moved(site: Site) -> None:
    """Beside a new one it would never open again; without it, there may be a new one."""
    secret = f"whsec_{base64.b64encode(bytes(32)).decode()}"
    integration = site.integrate("signed-without-key", signing_secrets=[secret])
    own, missing = (site.fleet.directory / "secret.key").read_text().strip(), new_key()
    IntegrationStore(site.fleet.engine, Vault([missing, own])).of(OURS).change(integration, lambda one: one)
    visitor, place = site.visitor(), f"{HOME}/{integration}"
    refused = Page(visitor.post(place + "/secret/new", status=422).text)
    returned = IntegrationStore(site.fleet.engine, Vault([own, missing])).of(OURS).get(integration)

    assert "signing_secrets.1" in refused.text
    assert "lacks the key that sealed it" in refused.text
    assert [one.get_secret_value() for one in returned.destination.signing_secrets] == [secret]  # type: ignore[attr-defined]  # a webhook
    visitor.post(place + "/secret/none", sure="yes")
    assert "whsec_" in visitor.post(place + "/secret/new", status=200).text


@pytest.mark.parametrize(
    ("button", "words"),
    [
        ("delete", "3 events wait for it. They will not be delivered"),
        ("disable", "3 events wait for it already"),
        ("secret/new", "The older one is removed permanently"),
        ("secret/old", "It is removed permanently"),
        ("secret/none", "All its signing secrets are removed"),
    ],
)
def test_what_cannot_be_undone_is_asked_for_first(site: Site, button: str, words: str) -> None:
    """Without a script: its button leads to a page that says what is lost, and nothing is done yet."""
    secrets = [f"whsec_{base64.b64encode(bytes([n] * 32)).decode()}" for n in range(2)]
    integration = site.integrate(f"asked-{button.replace('/', '-')}", paused=True, signing_secrets=secrets)
    site.fleet.client.hset(keys.state_key(integration), "backlog_events", "3")
    visitor, place = site.visitor(), f"{HOME}/{integration}"
    before = site.resources.integrations_of(OURS).get(integration)
    page = visitor.get(place)
    unasked = visitor.post(f"{place}/{button}")
    question = visitor.get(unasked.headers["location"])

    if button != "secret/none":
        assert page.all("a", href=f"{place}/{button}")
    assert not page.all("form", action=f"{place}/{button}")
    assert unasked.headers["location"] == f"{place}/{button}"
    assert words in question.text
    assert site.resources.integrations_of(OURS).get(integration) == before

    form = question.all("form", action=f"{place}/{button}")
    answer = visitor.http.post(f"{place}/{button}", data=question.filled)
    assert form
    assert answer.status_code in {200, 303}
    assert button == "delete" or site.resources.integrations_of(OURS).get(integration) != before


def test_a_double_click_makes_one_signing_secret(site: Site) -> None:
    """The one that both answers show signs; the one before is not dropped by the second click."""
    integration = site.integrate("clicked-twice")
    visitor, place = site.visitor(), f"{HOME}/{integration}"
    form = visitor.get(place).filled
    shown = [visitor.http.post(place + "/secret/new", data=_first(form)) for _ in range(2)]
    webhook = site.resources.integrations_of(OURS).get(integration).destination

    assert isinstance(webhook, Webhook)
    [secret] = webhook.signing_secrets
    assert all(secret.get_secret_value() in Page(answer.text).text for answer in shown)
    client = site.fleet.client
    kept = [client.get(key) for key in client.keys("siem:idempotency:*") if client.type(key) == b"string"]
    assert kept
    assert all(secret.get_secret_value().encode() not in (value or b"") for value in kept)


def test_only_webhooks_are_signed(site: Site) -> None:
    """A form made by hand gets an answer in words."""
    integration = site.integrate("unsigned", url="syslog://siem.example.com", type="syslog_cef")

    assert "are not signed" in site.visitor().post(f"{HOME}/{integration}/secret/new", status=422).text
    site.visitor().post(f"{HOME}/{integration}/explode", status=404)


def test_the_list_is_narrowed_by_name_and_state(site: Site) -> None:
    """Fifty at a time; the numbers beside the states count everything."""
    for number in range(51):
        site.integrate(f"listed-{number:02}", paused=number == 7)
    visitor = site.visitor()
    first = visitor.get(HOME, params={"q": "listed"})
    second = visitor.get(first.all("a", rel="next")[0].attributes["href"])
    paused = visitor.get(HOME, params={"q": "LISTED", "state": "paused"})

    assert names(first)[0] == "listed-07"
    assert (len(names(first)), len(names(second))) == (50, 1)
    assert names(paused) == ["listed-07"]
    assert "No integration matches" in visitor.get(HOME, params={"q": "nobody"}).text


def test_an_event_is_found_at_every_integration_of_the_tenant(site: Site) -> None:
    """With what became of it at each; nothing of another tenant."""
    homes = [site.integrate("found-a"), site.integrate("found-b"), site.integrate("found-c", THEIRS)]
    ended = [Status.DELIVERED, Status.DEAD, Status.DELIVERED]
    for number, (home, status) in enumerate(zip(homes, ended, strict=True)):
        reported = outcome(["evt_sought"], status, integration_id=home)
        record_entries(site.fleet.engine, [(f"{NOON}-{8000 + number}", [reported])], [])
    page = site.visitor().get(HOME + "/events", params={"id": "evt_sought"})

    assert {"found-a", "found-b", "delivered", "dead"} <= set(page.words)
    assert page.text.count("Every attempt at") == 1
    assert "Every attempt at found-b" in page.text
    assert "found-c" not in page.text
    assert "No delivery found" in site.visitor().get(HOME + "/events?id=evt_x").text


def _first(form: Fields) -> Fields:
    """Return the proof and the token of one of a page's forms."""
    return {name: form[name][:1] for name in ("csrf", "form")}


def names(page: Page) -> list[str]:
    """Return the names that the list shows, in its order."""
    return [word for word in page.words if word.startswith("listed-")]


def test_an_address_that_is_not_allowed_is_shown_on_its_page(site: Site) -> None:
    """Before anyone wonders why nothing arrives; a public one goes without a word."""
    closed, public = site.integrate("closed", url="https://10.1.2.3/"), site.integrate("public")
    visitor = site.visitor()

    assert "10.1.2.3 is a private address" in visitor.get(f"{HOME}/{closed}").text
    assert "Not allowed:" not in visitor.get(f"{HOME}/{public}").text


def test_the_attempts_of_two_events_of_one_id_are_shown_apart(site: Site) -> None:
    """Each under a heading of its own, the second with its content."""
    home = site.integrate("reused")
    for number, (raw, words) in enumerate(((b"1st", "refused as it was"), (b"2nd", "refused anew"))):
        reported = outcome(
            ["evt_reused"],
            Status.DEAD,
            integration_id=home,
            failure=msgspec.structs.replace(REFUSAL, message=words),
        )
        events = [msgspec.structs.replace(one, content=content_of(raw)) for one in reported.events]
        reported = msgspec.structs.replace(reported, events=events)
        record_entries(site.fleet.engine, [(f"{NOON}-{8100 + number}", [reported])], [])
    page = site.visitor().get(HOME + "/events", params={"id": "evt_reused"})
    sections = page.text.split("Every attempt at reused")[1:]

    seen = [("refused as it was" in each, "refused anew" in each) for each in sections]
    marked = [f", content {content_of(b'2nd')[:12]}…" in each for each in sections]

    assert sorted(seen) == [(False, True), (True, False)]
    assert marked == [anew for _, anew in seen]
