"""Text from outside, made fit to be stored: PostgreSQL takes no NUL, and UTF-8 has no lone surrogates."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_UNFIT = re.compile("[\x00\ud800-\udfff]")
_HIGH_SURROGATE = re.compile("[\ud800-\udbff]$")
REPLACEMENT = "\ufffd"


def clean(text: str) -> str:
    """`text` with surrogate pairs joined, and U+FFFD in place of NUL and of surrogates without a partner."""
    if not _UNFIT.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\x00", REPLACEMENT)


class Cleaner:
    """Cleans a text that comes in pieces; a pair of surrogates may be cut between two of them."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        text = self._held + piece
        self._held = ""
        if _HIGH_SURROGATE.search(text):
            text, self._held = text[:-1], text[-1]
        return clean(text)

    def finish(self) -> str:
        held, self._held = self._held, ""
        return clean(held)


def json_object(text: str) -> Mapping[str, Any] | None:
    """The JSON object in `text`, its strings clean; an empty text is an empty object; anything else is None."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text, parse_constant=_refuse)
        return _clean_value(value) if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _clean_value(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(name): _clean_value(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_clean_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("1e999 and the like are not finite")
    return value
