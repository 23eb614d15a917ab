"""Secrets that are given in files: `SIEM_X_FILE=/path` in place of `SIEM_X=value`.

Whatever is mounted or passed on as a file (a secret of Docker or Kubernetes, a credential of systemd) need
not be copied into the environment, where other programs can read it. Every setting of the type SecretStr
may be given so. No error repeats a content.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from worker.model.errors import InvalidSetting

_SUFFIX = "_FILE"
_LARGEST = 65_536


class SecretFileSettings(BaseSettings):
    """Settings whose secrets may stand in files."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let a file win over a variable that is empty; one that is not beside it is refused."""
        del dotenv_settings, file_secret_settings
        return init_settings, SecretFiles(settings_cls), env_settings


class SecretFiles(PydanticBaseSettingsSource):
    """Reads the secrets whose files the environment names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the content of the field's file, or None."""
        del field
        path = os.environ.get(file_variable(field_name))
        return None if path is None else secret_in(file_variable(field_name), path), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Read all files. Raises InvalidSetting for the first that is wrong, with the others."""
        found, wrong = {}, list(_misplaced(self.settings_cls, os.environ))
        for name in secret_fields(self.settings_cls):
            try:
                value, _, _ = self.get_field_value(self.settings_cls.model_fields[name], name)
            except InvalidSetting as error:
                wrong.append(error)
                continue
            if value is not None:
                found[name] = value
        if wrong:
            first, *others = wrong
            raise InvalidSetting(first.field, first.reason, first.hint, others)
        return found


def secret_fields(model: type[BaseSettings]) -> tuple[str, ...]:
    """Return the names of the settings that are secret: their type says so."""
    return tuple(name for name, field in model.model_fields.items() if _is_secret(field))


def variable(field_name: str) -> str:
    """Return the environment variable of a setting."""
    return f"SIEM_{field_name.upper()}"


def file_variable(field_name: str) -> str:
    """Return the environment variable that names the file of a secret setting."""
    return variable(field_name) + _SUFFIX


def variable_in_use(field_name: str) -> str:
    """Return the variable from which a setting was read: that of its file, if it is set."""
    file = file_variable(field_name)
    return file if file in os.environ else variable(field_name)


def without_copies(given: Mapping[str, str], inherited: Mapping[str, str]) -> dict[str, str]:
    """Combine an environment with the settings for a new process, in which each secret stands once.

    A secret that is still what its file holds stays in that file alone; else the file's variable goes.
    """
    combined = {**inherited, **given}
    for name in given:
        path = inherited.get(name + _SUFFIX)
        if path is None:
            continue
        if given[name] == secret_in(name + _SUFFIX, path):
            del combined[name]
            combined[name + _SUFFIX] = str(Path(path).absolute())
        else:
            del combined[name + _SUFFIX]
    return combined


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _misplaced(model: type[BaseSettings], environment: Mapping[str, str]) -> Iterator[InvalidSetting]:
    """Find secrets that are given twice, and files for settings that are none."""
    secrets = secret_fields(model)
    for name in model.model_fields:
        file = file_variable(name)
        if file not in environment:
            continue
        if name not in secrets:
            yield InvalidSetting(
                file, f"is not read: {variable(name)} is no secret", f"set {variable(name)} itself"
            )
        elif environment.get(variable(name)):
            yield InvalidSetting(
                file, f"is set, and {variable(name)} as well", "set one of the two, and unset the other"
            )


def secret_in(name: str, path: str) -> str:
    """Return the one line that the file holds that a variable of this name gives. Raises InvalidSetting."""
    if not path:
        raise InvalidSetting(
            name, "names no file", "give the path of a file that holds the secret, or unset it"
        )
    try:
        raw = _read(path)
    except OSError as error:
        raise InvalidSetting(
            name,
            f"names {path}, which cannot be read: {error.strerror}",
            "give the path of a file that this user may read",
        ) from None
    if raw is None:
        raise InvalidSetting(
            name,
            f"names {path}, which is no regular file",
            "give the path of a file that holds the secret alone",
        )
    return _one_line(name, path, raw)


def _read(path: str) -> bytes | None:
    """Read a file, or return None if it is a directory or a pipe: to open that may take for ever."""
    if Path(path).exists() and not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return file.read(_LARGEST + 1)


def _one_line(name: str, path: str, raw: bytes) -> str:
    hint = "write the secret alone into it, as one line of UTF-8"
    if len(raw) > _LARGEST:
        raise InvalidSetting(name, f"names {path}, which is larger than {_LARGEST} bytes", hint)
    try:
        text = raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidSetting(name, f"names {path}, which is not UTF-8", hint) from None
    if not text.strip():
        raise InvalidSetting(name, f"names {path}, which is empty", hint)
    if not text.isprintable():
        raise InvalidSetting(name, f"names {path}, which holds several lines, or control characters", hint)
    return text
