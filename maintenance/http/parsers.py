"""Reading a JSON body with a limit on its size: DRF's own parser reads whatever is sent."""

import json
import math
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from maintenance.http.errors import TooLarge

NESTING_MAX = 100


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is more than a number can be")
    return number


def _depth(value: Any) -> int:
    """How many lists and objects are inside each other."""
    level, depth = [value], 0
    while nested := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [inner for one in nested for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


class JSONBody(BaseParser):
    """UTF-8 JSON of at most `DATA_UPLOAD_MAX_MEMORY_SIZE` bytes: 413 above, 400 for what is not JSON or too deep."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: Any = None, parser_context: Any = None) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge(f"The body of a request has at most {limit} bytes.")
        try:
            value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise ParseError("The body is not valid JSON.") from error
        # Whoever reads it again, here or in a worker, has perhaps less room on the stack than there was now.
        if body.count(b"[") + body.count(b"{") > NESTING_MAX and _depth(value) > NESTING_MAX:
            raise ParseError(f"The body is nested more than {NESTING_MAX} levels deep.")
        return value
