"""Reading the web: a page by its address, and a search where a SearXNG server is configured.

Pages go out by `maintenance.outbound`, so that no address leads into the operator's own network. Nothing is kept: what
one user reads is no other's.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

from bs4 import BeautifulSoup
from django.conf import settings
from markdownify import MarkdownConverter

from conversations.system_tools.base import Caller, SystemTool, ToolFailed, fetch, schema
from maintenance import outbound
from maintenance.deadline import TimeOver, time_limited
from models_registry.backends.texts import clean

logger = logging.getLogger(__name__)

HTML_MAX_CHARACTERS = 1_000_000  # each of them can be an element, which takes a thousand times its room
READ_SECONDS = 10
PAGE_MAX_CHARACTERS = 40_000
RESULTS = 5
ATTEMPTS = 3
# What says nothing to a reader of text.
_SKIPPED = ["script", "style", "noscript", "template", "svg", "iframe", "form", "nav", "footer", "head"]
# markdownify's patterns need the square of their length.
_BLANKS = re.compile(r"[ \t]{100,}")
_TEXT = ("text/", "application/json", "application/xml", "application/xhtml", "application/rss", "application/atom")


def _fetch(caller: Caller, arguments: Mapping[str, Any]) -> str:
    answer = _get(caller, arguments["url"])
    kind = answer.headers.get("content-type", "text/plain").lower()
    if not kind.startswith(_TEXT):
        raise ToolFailed(f"{answer.url} is {kind.partition(';')[0]}, which is no text.")
    text = _decoded(answer, kind)
    cut = answer.truncated
    if "html" in kind:
        cut = cut or len(text) > HTML_MAX_CHARACTERS
        text = _read(text, answer.url)
    cut = cut or len(text) > PAGE_MAX_CHARACTERS
    note = "\n\n[cut: the page is longer]" if cut else ""
    return f"{answer.url}\n\n{text[:PAGE_MAX_CHARACTERS]}{note}"


def _read(html: str, url: str) -> str:
    """`readable` of the beginning of a page that may have been made to take for ever. Raises ToolFailed."""
    try:
        with time_limited(READ_SECONDS, each_line=False):
            return readable(html[:HTML_MAX_CHARACTERS])
    except TimeOver:
        raise ToolFailed(f"{url} takes too long to read.") from None
    except RecursionError:
        raise ToolFailed(f"{url} is nested too deep to be read.") from None


def readable(html: str) -> str:
    """A page as Markdown: its title and its main part, without what is there for browsers only."""
    page = BeautifulSoup(_BLANKS.sub(" ", html), "html.parser")
    title = page.title.get_text(" ", strip=True) if page.title else ""
    for element in page(_SKIPPED):
        element.decompose()
    main = page.find("main") or page.find("article") or page.body or page
    text = MarkdownConverter(heading_style="ATX", strip=["img"]).convert_soup(main)
    lines = [line.rstrip() for line in text.splitlines()]
    body = "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line or before).strip()
    return f"# {title}\n\n{body}" if title else body


def _decoded(answer: outbound.Answer, kind: str) -> str:
    charset = kind.partition("charset=")[2].partition(";")[0].strip("\"' ") or "utf-8"
    try:
        return clean(answer.body.decode(charset, "replace"))
    except (LookupError, UnicodeError):  # no encoding of texts, or not one of whole pages
        return clean(answer.body.decode("utf-8", "replace"))


def _search(caller: Caller, arguments: Mapping[str, Any]) -> str:
    query = urlencode({"q": arguments["query"], "format": "json"})
    base = settings.SEARXNG_URL.rstrip("/")
    # The operator's own server may be where no user's request may go.
    try:
        answer = _get(caller, f"{base}/search?{query}", allow=(_server(base),))
    except ToolFailed as error:
        # Where it is concerns the operator alone.
        logger.warning("the search server does not answer: %s", error)
        raise ToolFailed("the search server cannot be reached, or does not take the search.") from error
    try:
        found = json.loads(answer.body)["results"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ToolFailed("the search server gave no JSON: its format json may be off.") from error
    lines = list(_results(found, int(arguments.get("max_results", RESULTS))))
    return "\n\n".join(lines) or "Nothing was found."


def _server(url: str) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _results(found: Any, most: int) -> Iterator[str]:
    rows = [row for row in found if isinstance(row, dict) and row.get("url")] if isinstance(found, list) else []
    for number, row in enumerate(rows[:most], 1):
        yield f"{number}. {row.get('title') or row['url']}\n{row['url']}\n{row.get('content') or ''}".rstrip()


def _get(caller: Caller, url: str, allow: tuple[str, ...] = ()) -> outbound.Answer:
    """A good answer. Raises ToolFailed."""
    headers = {"Accept": "text/html,application/xhtml+xml,text/*;q=0.9,application/json;q=0.8"}
    answer = fetch(caller, "GET", url, headers=headers, allow=allow, attempts=ATTEMPTS)
    if answer.status != HTTPStatus.OK:
        raise ToolFailed(f"{answer.url} answered HTTP {answer.status}.")
    return answer


TOOLS = (
    SystemTool(
        name="web_fetch",
        description="Read a page of the web by its address. Answers with its text as Markdown.",
        parameters=schema("url", url={"type": "string", "minLength": 1, "maxLength": 2000}),
        call=_fetch,
        is_idempotent=True,
    ),
    SystemTool(
        name="web_search",
        description="Search the web. Answers with titles, addresses and excerpts of what was found.",
        parameters=schema(
            "query",
            query={"type": "string", "minLength": 1, "maxLength": 500},
            max_results={"type": "integer", "minimum": 1, "maximum": 20, "description": f"default {RESULTS}"},
        ),
        call=_search,
        is_idempotent=True,
        is_configured=lambda: bool(settings.SEARXNG_URL),
    ),
)
