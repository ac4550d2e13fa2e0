"""JSON that somebody typed into a form."""

import json
import math
from typing import Any

NESTING_MAX = 100


class StorableJSON(json.JSONDecoder):
    """Refuses, as a JSONDecodeError, what no database could hold or nobody could read again.

    That is NaN and the infinities, NUL, surrogates without a partner, and more than `NESTING_MAX` levels.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "parse_constant": _refuse, "parse_float": _finite})

    def decode(self, s: str, *args: Any) -> Any:
        try:
            value = super().decode(s, *args)
            _check(value, NESTING_MAX)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:
            said = "Nested too deep" if isinstance(error, RecursionError) else str(error)
            raise json.JSONDecodeError(said, s[:100], 0) from None
        return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("A number is larger than numbers can be")
    return number


def _check(value: Any, levels: int) -> None:
    if isinstance(value, str):
        if "\x00" in value or not _is_unicode(value):
            raise ValueError("A text holds characters that cannot be stored")
    elif isinstance(value, dict | list):
        if not levels:
            raise ValueError(f"Nested more than {NESTING_MAX} levels deep")
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            _check(inner, levels - 1)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
