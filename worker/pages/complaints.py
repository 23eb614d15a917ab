"""What is wrong with a form, in words for the one who filled it in."""

from worker.api.merging import REMEDY
from worker.api.problems import Problem
from worker.model.errors import InvalidIntegration, SecretUnreadable


def complaint(error: InvalidIntegration | SecretUnreadable | Problem) -> str:
    """Return field, reason and remedy; but not the remedy that only helps who calls the API."""
    if isinstance(error, InvalidIntegration) and error.remedy == REMEDY:
        return f"{error.field}: {error.reason}"
    return str(error)
