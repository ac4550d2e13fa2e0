"""Reading a JSON body with a limit on its size: DRF's own parser reads whatever is sent."""

import json
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from maintenance.http.errors import TooLarge


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class JSONBody(BaseParser):
    """UTF-8 JSON of at most `DATA_UPLOAD_MAX_MEMORY_SIZE` bytes: 413 above, 400 for what is not JSON."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: Any = None, parser_context: Any = None) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge()
        try:
            return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ParseError("The body is not valid JSON.") from error
