"""`siem preflight`: a table or a document, and an exit code that a script can go by."""

import json
from pathlib import Path

from tests.cli.running import call
from tests.cli.test_troubles import NO_DATABASE, NO_REDIS
from tests.embedded_servers import RunningServer
from worker.vault.vault import new_key


def environment(server: RunningServer, database_url: str, data: Path) -> dict[str, str]:
    """Return the settings of an installation."""
    return {
        "SIEM_REDIS_URL": server.url,
        "SIEM_DATABASE_URL": database_url,
        "SIEM_SECRET_KEYS": new_key(),
        "SIEM_DATA_DIR": str(data),
    }


def test_the_exit_code_says_whether_it_is_fit(
    server: RunningServer, postgres_url: str, tmp_path: Path
) -> None:
    """1 while something has to be corrected, 0 once that is done; both name what is not ok."""
    given = environment(server, postgres_url, tmp_path)
    before = call(given, "preflight")
    call(given, "db", "upgrade")
    after = call(given, "preflight")

    assert before.code == 1
    assert "Not fit for production: 1 check failed (schema), with a warning of " in before.out
    assert after.code == 0, after.out
    assert "Fit for production, with a warning of api proxies, metrics token, " in after.out
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_answer_is_told_apart(server: RunningServer, postgres_url: str, tmp_path: Path) -> None:
    """3, with everything else; no password is repeated."""
    given = environment(server, postgres_url, tmp_path)
    no_redis = call(given | {"SIEM_REDIS_URL": NO_REDIS}, "preflight")
    neither = call(
        given | {"SIEM_REDIS_URL": NO_REDIS, "SIEM_DATABASE_URL": NO_DATABASE}, "preflight", "--json"
    )
    document = json.loads(neither.out)

    assert no_redis.code == neither.code == 3
    assert "Not known whether it is fit for production: Redis cannot be asked; 1 check failed" in no_redis.out
    assert (document["fit"], document["unasked"]) == (None, ["Redis", "the database"])
    assert "hunter2" not in no_redis.out + neither.out


def test_the_document_has_every_check(server: RunningServer, postgres_url: str, tmp_path: Path) -> None:
    """Each with its name, how it came out, why, and a hint where something has to be done."""
    ran = call(environment(server, postgres_url, tmp_path), "preflight", "--json")
    document = json.loads(ran.out)
    checks = {one["name"]: one for one in document["checks"]}

    assert (ran.code, document["fit"]) == (1, False)
    assert len(checks) == len(document["checks"])
    assert checks["schema"] == {
        "name": "schema",
        "status": "failed",
        "reason": "the ledger has no tables yet",
        "hint": "run `siem db upgrade`: recorders and APIs of this release wait for it",
    }
    assert checks["redis rights"]["hint"] is None
    assert [
        one["name"]
        for one in document["checks"]
        if one["status"] in {"failed", "warning"} and not one["hint"]
    ] == []
