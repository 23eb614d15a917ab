"""Secrets at rest: what is sealed, who can open it, and where the key comes from."""

import base64
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import BaseModel, SecretStr

from worker.integrations.integration import Integration, parse_integration
from worker.model.errors import InvalidSetting, SecretUnreadable
from worker.settings import Settings
from worker.vault.documents import forget_secrets, open_document, seal_document
from worker.vault.marks import SecretMark
from worker.vault.masking import masked_document
from worker.vault.places import place_of
from worker.vault.vault import Vault, open_vault

_PRINT_KEY = """
import sys
from pathlib import Path
from worker.vault.vault import open_vault
from worker.settings import Settings
sys.stdout.write(open_vault(Settings(data_dir=Path(sys.argv[1]))).seal("x"))
"""

_DOCUMENT = {
    "id": "int_a",
    "name": "Splunk",
    "event_types": ["policy.hold", "policy.deny"],
    "destination": {
        "type": "splunk_hec",
        "url": "https://splunk.example.com:8088/services/collector/event",
        "token": "plain-token",
        "client_cert_pem": "certificate",
        "client_key_pem": "plain-key",
    },
}


_KEY_ONE, _KEY_TWO = (f"whsec_{base64.b64encode(letter * 32).decode()}" for letter in (b"a", b"b"))
_AUTHS = {
    "token": {"kind": "bearer", "token": "plain-bearer"},
    "value": {"kind": "api_key", "header": "X-Key", "value": "plain-value"},
}


def _key() -> str:
    return Fernet.generate_key().decode()


@pytest.fixture
def integration() -> Integration:
    """Give an integration with two secrets."""
    return parse_integration(_DOCUMENT)


@pytest.fixture
def vault() -> Vault:
    """Give a vault with a new key."""
    return Vault([_key()])


def test_document_holds_no_secret(integration: Integration, vault: Vault) -> None:
    """No secret stands in the document in the clear, and everything else does."""
    document = seal_document(integration, vault)
    text = json.dumps(document)

    assert "plain-" not in text
    assert text.count("$sealed") == 2
    assert document["destination"]["url"] == _DOCUMENT["destination"]["url"]  # type: ignore[index]  # a dict
    assert document["event_types"] == ["policy.deny", "policy.hold"]


def test_document_for_anybody_holds_no_secret(vault: Vault, integration: Integration) -> None:
    """What is shown to people says of a secret that it is set, and nothing else."""
    document = masked_document(seal_document(integration, vault), None, vault)

    assert document["destination"]["token"] == document["destination"]["client_key_pem"] == SecretMark()
    assert "plain-" not in json.dumps(document)


def test_document_opens_to_the_same_integration(integration: Integration, vault: Vault) -> None:
    """Sealing, writing as JSON, reading and opening gives the integration back."""
    document = json.loads(json.dumps(seal_document(integration, vault)))

    assert open_document(document, vault) == integration


def test_secrets_are_known_by_their_type(vault: Vault) -> None:
    """A secret of a destination that does not exist today is sealed as well, at any depth."""

    class Auth(BaseModel):
        value: SecretStr
        spare: SecretStr | None = None

    class Webhook(BaseModel):
        auths: tuple[Auth, ...]
        by_name: dict[str, SecretStr]

    class Future(Integration):
        destination: Webhook  # type: ignore[assignment]  # what a later release may have

    destination = Webhook(auths=(Auth(value=SecretStr("plain-1")),), by_name={"x": SecretStr("plain-2")})
    document = seal_document(Future(id="a", name="b", destination=destination), vault)

    assert "plain-" not in json.dumps(document)
    assert document["destination"]["auths"][0]["spare"] is None
    sealed = document["destination"]["by_name"]["x"]["$sealed"]
    assert vault.open(sealed, place_of(document, "by_name.x", None)) == "plain-2"


def _webhook(secret_of_auth: str) -> Integration:
    """Make a webhook with a secret in every place that has room for one."""
    destination = {
        "type": "webhook",
        "url": "https://endpoint.example.com/",
        "auth": _AUTHS[secret_of_auth],
        "headers": {"X-One": "plain-one", "X-Two": "plain-two"},
        "signing_secrets": [_KEY_ONE, _KEY_TWO],
        "client_cert_pem": "certificate",
        "client_key_pem": "plain-key",
    }
    return parse_integration({"id": "int_w", "name": "Hook", "destination": destination})


def _has_a_secret(document: object) -> bool:
    return any(part in json.dumps(document) for part in ("plain-", "whsec_", _KEY_ONE[6:], _KEY_TWO[6:]))


@pytest.mark.parametrize("secret_of_auth", _AUTHS)
def test_secrets_within_a_webhook_are_sealed(vault: Vault, secret_of_auth: str) -> None:
    """In `auth`, in each header, in each signing secret: sealed one by one, and opened to the same."""
    integration = _webhook(secret_of_auth)
    sealed = json.loads(json.dumps(seal_document(integration, vault)))

    assert not _has_a_secret(sealed)
    assert json.dumps(sealed).count("$sealed") == 6
    assert open_document(sealed, vault) == integration


@pytest.mark.parametrize("secret_of_auth", _AUTHS)
def test_secrets_within_a_webhook_are_only_set(vault: Vault, secret_of_auth: str) -> None:
    """People see which headers there are, how many signing secrets, and how we prove who we are."""
    mark, sealed = SecretMark(), seal_document(_webhook(secret_of_auth), vault)
    shown = masked_document(sealed, None, vault)["destination"]

    assert not _has_a_secret(shown)
    assert shown["auth"] == _AUTHS[secret_of_auth] | {secret_of_auth: mark}
    assert shown["headers"] == {"X-One": mark, "X-Two": mark}
    assert shown["signing_secrets"] == [mark, mark]


@pytest.mark.parametrize("secret_of_auth", _AUTHS)
def test_secrets_within_a_webhook_are_forgotten(vault: Vault, secret_of_auth: str) -> None:
    """After its deletion nothing is left of any of them."""
    forgotten = forget_secrets(seal_document(_webhook(secret_of_auth), vault))["destination"]

    assert "$sealed" not in json.dumps(forgotten)
    assert forgotten["auth"] == _AUTHS[secret_of_auth] | {secret_of_auth: None}
    assert forgotten["headers"] == {"X-One": None, "X-Two": None}
    assert forgotten["signing_secrets"] == [None, None]


def test_keys_rotate(integration: Integration) -> None:
    """With a new key before the old one, what the old one sealed opens, and the new one seals."""
    old, new = _key(), _key()
    document = seal_document(integration, Vault([old]))
    both = Vault([new, old])

    assert open_document(document, both) == integration
    assert Vault([new]).open(both.seal("text")) == "text"


def test_lost_key_is_told_with_the_integration(integration: Integration, vault: Vault) -> None:
    """A document that no key opens names the integration and the setting, and no secret."""
    document = seal_document(integration, Vault([_key()]))

    with pytest.raises(SecretUnreadable, match=r"integration Splunk .* SIEM_SECRET_KEYS") as raised:
        open_document(document, vault)
    assert "plain" not in str(raised.value)


def test_secrets_are_forgotten_without_a_key(integration: Integration, vault: Vault) -> None:
    """Forgetting leaves null in the place of each secret, even if its key is lost."""
    forgotten = forget_secrets(seal_document(integration, vault))

    assert forgotten["destination"]["token"] is None
    assert forgotten["destination"]["client_key_pem"] is None
    assert "$sealed" not in json.dumps(forgotten)


LONG = "p" * 60_000


#: URLs, and what is kept of each after a deletion.
KEPT: list[tuple[object, str | None]] = [
    ("https://h.example:8443/in?key=k3y", "https://h.example:8443/in?key=…"),
    (f"https://h.example:8443/{LONG}", "https://h.example:8443"),
    (f"https://h.example:8443/in?{LONG}=", "https://h.example:8443"),
    (f"https://h.example:8443?a={LONG}&{LONG}=b", "https://h.example:8443"),
    (f"syslog://h.example:514#{LONG}", "syslog://h.example:514"),
    (f"https://{LONG}/in", f"https://{LONG}"[:1000]),
    (f"https://[{LONG}", f"https://[{LONG}"[:1000]),
    ({"$sealed": LONG}, None),
    ([LONG], None),
    (None, None),
]


def test_a_long_url_is_forgotten_but_for_its_server() -> None:
    """A row of what was deleted stays for good: deletions fill no ledger with paths."""
    for url, kept in KEPT:
        forgotten = forget_secrets({"id": "a", "destination": {"type": "webhook", "url": url}})

        assert forgotten["destination"] == {"type": "webhook", "url": kept}, str(url)[:80]


def test_any_text_is_sealed(vault: Vault) -> None:
    """Whatever the secret is, it comes back as it was."""
    texts = ["", "a", "zażółć\0\n🙂", "x" * 100_000]

    assert [vault.open(vault.seal(text)) for text in texts] == texts


@pytest.mark.parametrize("sealed", ["", "nonsense", "ż", "gAAAAA=="])
def test_what_was_never_sealed_does_not_open(vault: Vault, sealed: str) -> None:
    """Text that no vault made is unreadable, not an accident."""
    with pytest.raises(SecretUnreadable):
        vault.open(sealed)


def test_key_of_the_setting(tmp_path: Path) -> None:
    """Keys from the environment are used, spaces around them ignored, and no file is made."""
    first, second = _key(), _key()
    vault = open_vault(Settings(data_dir=tmp_path, secret_keys=SecretStr(f" {first} , {second},")))

    assert vault.open(Vault([second]).seal("text")) == "text"
    assert Vault([first]).open(vault.seal("text")) == "text"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "keys", ["hunter2", f"{_key()},hunter2", ",", "ż"], ids=["no key", "second", "none", "ż"]
)
def test_malformed_key_is_named_but_not_shown(tmp_path: Path, keys: str) -> None:
    """A setting that holds no Fernet keys says so, how to make one, and does not repeat it."""
    with pytest.raises(InvalidSetting, match=r"SIEM_SECRET_KEYS: .*siem secrets new-key") as raised:
        open_vault(Settings(data_dir=tmp_path, secret_keys=SecretStr(keys)))

    assert "hunter2" not in str(raised.value)


def test_key_is_made_once(tmp_path: Path) -> None:
    """Without the setting a key is made, for its owner alone, and used from then on."""
    settings = Settings(data_dir=tmp_path / "data", secret_keys=SecretStr(""))
    sealed = open_vault(settings).seal("text")
    path = tmp_path / "data" / "secret.key"

    assert open_vault(settings).open(sealed) == "text"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_make_a_key_agree(tmp_path: Path) -> None:
    """Of processes that start at once, all use one key, and none leaves anything behind."""
    command = [sys.executable, "-c", _PRINT_KEY, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    sealed = [process.communicate()[0] for process in processes]
    vault = open_vault(Settings(data_dir=tmp_path, secret_keys=SecretStr("")))

    assert [vault.open(text) for text in sealed] == ["x"] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_key_that_came_first_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that loses the race to make the key uses the winner's."""
    winner = _key()
    path = tmp_path / "secret.key"
    generate = Fernet.generate_key

    def generate_late() -> bytes:
        path.write_text(winner)
        return generate()

    monkeypatch.setattr(Fernet, "generate_key", generate_late)
    vault = open_vault(Settings(data_dir=tmp_path, secret_keys=SecretStr("")))

    assert Vault([winner]).open(vault.seal("text")) == "text"
    assert list(tmp_path.iterdir()) == [path]


def test_broken_key_file_is_named(tmp_path: Path) -> None:
    """A key file that holds something else is not overwritten: it may have sealed every secret."""
    path = tmp_path / "secret.key"
    path.write_text("half a k")
    with pytest.raises(InvalidSetting, match="does not hold a Fernet key; restore that file") as raised:
        open_vault(Settings(data_dir=tmp_path, secret_keys=SecretStr("")))

    assert raised.value.field == str(path)
    assert path.read_text() == "half a k"


def test_key_file_that_cannot_be_made(tmp_path: Path) -> None:
    """A data directory that is a file is named as such."""
    (tmp_path / "file").touch()

    with pytest.raises(InvalidSetting, match="SIEM_DATA_DIR"):
        open_vault(Settings(data_dir=tmp_path / "file", secret_keys=SecretStr("")))
