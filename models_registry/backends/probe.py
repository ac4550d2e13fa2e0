"""A short question to a server, and what its answer says of the backend's health."""

from collections.abc import Callable, Sequence

from models_registry import errors
from models_registry.backends.base import Health, Timeouts

LIMITS = Timeouts(connect=1, first_byte=2, idle=1, total=3)
LISTING_LIMITS = Timeouts(connect=5, first_byte=15, idle=15, total=30)  # for the list itself, not a sign of life


def health(list_models: Callable[[], Sequence[str]]) -> Health:
    """Ask for the names of the models; an answer means that the backend works. Never raises."""
    try:
        return Health(status="available", models=tuple(list_models()))
    except (errors.Unauthorized, errors.BackendMisconfigured) as error:
        return Health(status="misconfigured", error=error.message)
    except errors.BackendError as error:
        return Health(status="unreachable", error=error.message)
