"""Refusals: what a caller asked for cannot be done, with a reason that is safe to show."""

from collections.abc import Mapping, Sequence
from typing import Any


class Refusal(Exception):
    """A domain rule says no. The API answers `status_code` with `{message, code, errors?, …extra}`.

    `errors` names fields and their rules: `{"name": ["This field is required."]}`.
    """

    code = "refused"
    status_code = 409

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status_code: int = 0,
        errors: Mapping[str, Sequence[str]] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.status_code = status_code or self.status_code
        self.errors = errors
        self.extra = dict(extra or {})


class Invalid(Refusal):
    """A value breaks a rule of its field."""

    code = "invalid"
    status_code = 422
