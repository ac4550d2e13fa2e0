"""Calling a tool that its owner defined as an HTTP request.

`{name}` in the URL stands for an argument, quoted; what the URL does not name goes into the query of a GET or DELETE,
and into a JSON body otherwise. The request goes out by `maintenance.outbound`, and so reaches no private address.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from django.conf import settings

from conversations import tool_secrets
from conversations.models import Tool
from conversations.system_tools.base import Caller, ToolFailed, fetch
from maintenance import outbound

PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_-]{1,64})\}")
# A part of a path that stands for another part.
DOTS = re.compile(r"/\.\.?(?:/|\Z)")
# What is shorter is rather a word that an answer may hold anyway.
BARE_SECRET_LETTERS = 6
IN_QUERY = (Tool.Method.GET, Tool.Method.DELETE)


def call(tool_id: int, arguments: Mapping[str, Any], caller: Caller) -> str:
    """Make the request and answer with the body of the response as text. Raises ToolFailed."""
    tool = Tool.objects.filter(pk=tool_id).first()
    if tool is None:
        raise ToolFailed("the tool was deleted.")
    url, body = request_of(tool, arguments)
    secrets = _secret_headers(tool)
    headers = {**tool.headers, **secrets}
    if body is not None and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = "application/json"
    seconds, limit = tool.timeout_seconds, settings.TOOL_RESULT_MAX_BYTES
    answer = fetch(caller, tool.method, url, headers=headers, body=body, timeout_seconds=seconds, max_bytes=limit)
    return _text(answer, secrets.values())


def request_of(tool: Tool, arguments: Mapping[str, Any]) -> tuple[str, bytes | None]:
    """The URL and the body that these arguments make. Raises ToolFailed where one is missing, or changes the path."""
    named = PLACEHOLDER.findall(tool.url)
    missing = [name for name in named if name not in arguments]
    if missing:
        raise ToolFailed(f"the URL needs the argument {missing[0]}.")
    url = PLACEHOLDER.sub(lambda found: quote(_plain(arguments[found[1]]), safe=""), tool.url)
    if _has_dots(url) and not _has_dots(tool.url):
        raise ToolFailed("an argument would change the path of the URL.")
    rest = {name: value for name, value in arguments.items() if name not in named}
    if tool.method not in IN_QUERY:
        return url, json.dumps(rest).encode()
    if rest:
        pairs = urlencode({name: _plain(value) for name, value in rest.items()})
        url += ("&" if "?" in url else "?") + pairs
    return url, None


def _has_dots(url: str) -> bool:
    # As servers read it that undo the quoting first, and for which a backslash is a slash too.
    return bool(DOTS.search(unquote(urlsplit(url).path).replace("\\", "/")))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _secret_headers(tool: Tool) -> dict[str, str]:
    try:
        return tool_secrets.headers(tool)
    except tool_secrets.Unreadable:
        raise ToolFailed("the tool's secret headers cannot be read any more; its owner must set them anew.") from None


def _text(answer: outbound.Answer, secrets: Iterable[str]) -> str:
    """What the model gets. Raises ToolFailed for a status of 400 and more, with the body, which often says why."""
    text = answer.body.decode(errors="replace").replace("\x00", "\ufffd")
    for secret in filter(None, secrets):  # some servers repeat what they were sent
        for spelling in _spellings(secret):
            text = text.replace(spelling, "[secret]")
    if answer.truncated:
        text += f"\n[cut: the answer is longer than {len(answer.body)} bytes]"
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise ToolFailed(f"HTTP {answer.status}: {text}")
    return text or f"HTTP {answer.status}, without a body."


def _spellings(secret: str) -> Iterator[str]:
    """The value of a header, as text and inside JSON; and the same of what follows its scheme, such as `Bearer`."""
    bare = secret.rpartition(" ")[2]
    for one in (secret, bare) if len(bare) >= BARE_SECRET_LETTERS else (secret,):
        yield one
        yield json.dumps(one)[1:-1]
