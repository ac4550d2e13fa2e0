"""What is done when the caller's transaction commits."""

from collections.abc import Callable
from functools import partial, update_wrapper

from django.db import transaction


def after_commit(function: Callable[..., object], *values: object) -> None:
    """Call it then. What it raises is logged, and keeps nothing else from being done after the commit.

    Django names the function in that log line, which a plain `partial` has no name for.
    """
    transaction.on_commit(update_wrapper(partial(function, *values), function), robust=True)
