"""A field says once what it is, and a type that is added later has options and a form by that alone."""

import json
import subprocess
import sys
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from worker.integrations import CONFIGS
from worker.integrations.fields import Described, FieldShape, fields_of

_CODE = """
import json, sys
import tests.integrations.fourth_type
from click.testing import CliRunner
import click
from starlette.datastructures import FormData
from worker.cli.field_options import SectionedCommand
from worker.cli.integration_form import read_form
from worker.cli.integration_options import INTEGRATION_OPTIONS
from worker.model.errors import InvalidIntegration
from worker.pages.form_fields import all_fields
from worker.pages.form_values import document_in, patch_in, refilled
from worker.vault.fields import concealed

@click.command(cls=SectionedCommand, params=list(INTEGRATION_OPTIONS))
def create(**options):
    integration = read_form(options)
    click.echo(json.dumps(concealed(integration, lambda _, secret: secret.get_secret_value())["destination"]))

def printed(arguments):
    wide = {"terminal_width": 200, "max_content_width": 200}
    ran = CliRunner().invoke(create, ["--name", "lake", *arguments], **wide)
    if isinstance(ran.exception, InvalidIntegration):
        return [str(one) for one in ran.exception.all]
    return ran.output.strip().splitlines()

given = json.load(sys.stdin)
form = FormData([tuple(pair) for pair in given["form"]])
print(json.dumps({
    "commands": [printed(one) for one in given["commands"]],
    "fields": [field.name for field in all_fields("lake")],
    "document": document_in(form, "lake"),
    "again": dict(refilled(form, "lake").values),
}))
"""
LEAST = ("--url", "lakes://l", "--table", "t", "--key-file", "KEY")


def run_with_fourth_type(key: str, commands: list[tuple[str, ...]], form: list[tuple[str, str]]) -> Any:
    """Return what a program says that knows the fourth type; KEY is a file with a secret."""
    typed = [[key if word == "KEY" else word for word in command] for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", _CODE],
        input=json.dumps({"commands": typed, "form": form}),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a file with a secret."""
    file = tmp_path_factory.mktemp("lake") / "key"
    file.write_text("hidden\n")
    return str(file)


def test_a_fourth_type_has_its_options_and_its_form(key: str) -> None:
    """Text, secrets, yes and no, numbers, choices, lists, pairs, and one of several models."""
    everything = (
        *LEAST,
        *("--login-password-file", "KEY", "--login-user", "u", "--write-token-file", "KEY"),
        *("--mode", "merge", "--merge-on", "a", "--merge-on", "b", "--no-is-strict", "--shards", "3"),
        *("--pause-seconds", "2", "--tags", "x=y", "--batch-events", "7"),
    )
    filled = [
        *(("name", "lake"), ("url", "lake://l"), ("table", "t"), ("key", "hidden"), ("is_strict", "yes")),
        *(("login.kind", "user_password"), ("login.user", "u"), ("login.password", "hidden")),
        *(("mode", "merge"), ("merge_on", "a\r\n b \r\n\r\n"), ("shards", "3"), ("tags", "x: y")),
        *(("forget:write_token", "yes"), ("event_types", "policy.deny")),
    ]
    shown = run_with_fourth_type(key, [("--help",), LEAST, everything], filled)
    text, [as_least], [as_whole] = shown["commands"]
    least, whole = json.loads(as_least), json.loads(as_whole)
    document = shown["document"]

    section = text[text.index("Lake (--type lake):") : text.index("TLS:")]
    assert [line.split()[0] for line in section if line.startswith("  --")] == [
        *("--table", "--login", "--login-user", "--login-password-file", "--key-file", "--write-token-file"),
        *("--mode", "--merge-on", "--is-strict", "--shards", "--pause-seconds", "--tags"),
    ]
    words = " ".join(" ".join(text).split())
    assert "How many shards there are. [1 to 9; default: 2]" in words
    assert "[1 to 1000; default: 500, 250 for webhook, 10 for lake]" in words
    assert "Left out with --login user-password, you are asked for it." in words
    assert (least["login"], least["key"]) == ({"kind": "anonymous"}, "hidden")
    assert (
        whole
        | {
            "login": {"kind": "user_password", "user": "u", "password": "hidden"},
            "merge_on": ["a", "b"],
            "is_strict": False,
            "shards": 3,
            "pause_seconds": 2.0,
            "tags": {"x": "y"},
            "write_token": "hidden",
            "batch_events": 7,
        }
        == whole
    )
    assert shown["fields"][:6] == ["url", "table", "login.kind", "login.user", "login.password", "key"]
    assert (document["login"], document["merge_on"]) == (
        {"kind": "user_password", "user": "u", "password": "hidden"},
        ["a", "b"],
    )
    assert document["is_strict"] is True
    assert document["shards"] == 3
    assert document["tags"] == {"x": "y"}
    assert document["key"] == "hidden"
    assert document["write_token"] is None
    assert document["pause_seconds"] is None
    assert (shown["again"]["key"], shown["again"]["table"]) == (None, "t")


def test_what_a_fourth_type_cannot_use_is_refused_by_its_options(key: str) -> None:
    """Conditions and errors name its options, as those of the other types."""
    asked = [
        (*LEAST, "--login", "anonymous", "--login-user", "x"),
        (*LEAST, "--merge-on", "a"),
        (*LEAST, "--url", "lake://l", "--pause-seconds", "2"),
        (*LEAST, "--index", "main"),
        (*LEAST[:4], "--login", "user-password"),
        ("--url", "lakes://l", "--key-file", "KEY", "--shards", "10"),
        (*LEAST, "--url", "ftp://l"),
    ]
    shown = run_with_fourth_type(key, asked, [])

    assert [lines[-1].removeprefix("Error: ") for lines in shown["commands"][:5]] == [
        "--login-user goes with --login user-password, not with --login anonymous",
        "--merge-on goes with --mode merge: give both or neither",
        "--pause-seconds is of no use without TLS: give an address like lakes://lake.example.com",
        "--index is of no use for lake: it goes with splunk_hec",
        "the password is missing, and there is no terminal to ask at: give --login-password-file",
    ]
    assert [line.partition(":")[0] for line in shown["commands"][5]] == ["--table", "--shards"]
    assert "or lake://lake.example.com" in shown["commands"][6][0]


class _Nested(BaseModel):
    way: Literal["a"] = "a"


class _Other(BaseModel):
    way: Literal["b"] = "b"


_WORDS = Described(label="Field", help="a field")


@pytest.mark.parametrize(
    "annotation",
    [
        str,
        Annotated[complex, _WORDS],
        Annotated[dict[str, int], _WORDS],
        Annotated[_Nested | _Other, Field(discriminator="way"), _WORDS],
    ],
)
def test_a_field_that_no_form_has_is_refused(annotation: Any) -> None:
    """At once, where its type is registered: without words, of no shape, or told apart by another field."""
    made = type("Made", (BaseModel,), {"__annotations__": {"of_no_form": annotation}})

    with pytest.raises(TypeError, match="of_no_form"):
        fields_of(made)


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_schema_of_the_api_says_what_the_help_says(kind: str) -> None:
    """A field has one description, in which fields are named as the reader knows them."""
    schema = CONFIGS[kind].model_json_schema()["properties"]
    own = [field for field in fields_of(CONFIGS[kind]) if "." not in field.name]

    for field in own:
        text = field.about.text(lambda name: f"`{name}`")
        assert schema[field.name]["description"].lower().startswith(text.lower()), field.name
    assert all(field.shape.is_secret == ("writeOnly" in json.dumps(schema[field.name])) for field in own)
    assert FieldShape.TEXT in {field.shape for field in own}
