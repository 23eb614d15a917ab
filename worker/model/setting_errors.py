"""What is wrong with the environment, in words: each variable that cannot be used, and why."""

from pydantic import ValidationError

from worker.model.errors import InvalidSetting


def invalid_settings(error: ValidationError) -> InvalidSetting:
    """Return an error that names the first variable that is wrong, and in `others` the others.

    It repeats no value: that may be a secret.
    """
    complaints = error.errors(include_input=False, include_url=False)
    first, *others = [_in_words(one["loc"], one["msg"]) for one in complaints]
    return InvalidSetting(*first, [InvalidSetting(*one) for one in others])


def _in_words(place: tuple[int | str, ...], message: str) -> tuple[str, str, str]:
    """Return which variable is wrong, why, and what to do."""
    name = "SIEM_" + "_".join(str(part) for part in place[:1]).upper()
    return name.rstrip("_"), message.removeprefix("Value error, "), "see the settings in README.md"
