"""Tools that go out over HTTP: pages, searches, and those that owners define."""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from conversations import system_tools, user_tools
from conversations.models import Tool
from conversations.system_tools import web
from conversations.system_tools.base import Caller, ToolFailed
from maintenance import encryption
from models_registry.backends.base import Cancellation
from models_registry.errors import Cancelled
from models_registry.fakes.http import Received, Script, Server, document, head

HTML = """<!doctype html><title>A & B</title><nav>Menu</nav><script>steal()</script>
<main><h1>Rice</h1><p>Boil it for <b>ten</b> minutes.</p><ul><li>salt<li>water</ul><a href="/more">More</a></main>"""


def page(body: str, kind: str = "text/html; charset=utf-8") -> Script:
    data = body.encode()
    return [head(200, {"content-type": kind, "content-length": str(len(data))}) + data]


class Site(Server):
    """Answers by path with what is put into `pages`."""

    def __init__(self) -> None:
        super().__init__(self._choose)
        self.pages: dict[str, Script] = {}

    def _choose(self, received: Received) -> Script:
        return self.pages.get(urlsplit(received.path).path, document(404, {"error": "not here"}))


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    with Site() as server:
        settings.OUTBOUND_ALLOWED = [server.url.removeprefix("http://")]
        yield server


@pytest.fixture
def caller() -> Caller:
    return Caller(conversation_id=1, user_id=1, cancellation=Cancellation())


def use(name: str, caller: Caller, **arguments: Any) -> str:
    tool = system_tools.find(name)
    assert tool
    return tool.call(caller, arguments)


# Pages


def test_a_page_comes_as_markdown_without_what_is_for_browsers(site: Site, caller: Caller) -> None:
    site.pages["/rice"] = page(HTML)
    text = use("web_fetch", caller, url=f"{site.url}/rice")
    assert text.startswith(f"{site.url}/rice\n\n# A & B\n\n# Rice\n\nBoil it for **ten** minutes.")
    assert "* salt" in text
    assert "[More](/more)" in text
    assert not [word for word in ("steal", "Menu", "<") if word in text]


def test_f50_the_case_of_a_path_is_kept_and_nothing_is_remembered(site: Site, caller: Caller) -> None:
    site.pages["/Page"] = page("one", "text/plain")
    assert use("web_fetch", caller, url=f"{site.url}/Page?Q=A").endswith("one")
    assert site.received[-1].path == "/Page?Q=A"
    site.pages["/Page"] = page("two", "text/plain")
    assert use("web_fetch", caller, url=f"{site.url}/Page?Q=A").endswith("two")


def test_a_long_page_is_cut_and_says_so(site: Site, caller: Caller) -> None:
    site.pages["/long"] = page("x" * (web.PAGE_MAX_CHARACTERS + 1), "text/plain")
    assert use("web_fetch", caller, url=f"{site.url}/long").endswith("x\n\n[cut: the page is longer]")


def test_a_picture_is_no_text(site: Site, caller: Caller) -> None:
    site.pages["/a.png"] = page("PNG", "image/png")
    with pytest.raises(ToolFailed, match="image/png, which is no text"):
        use("web_fetch", caller, url=f"{site.url}/a.png")


def test_a_missing_page_says_its_status(site: Site, caller: Caller) -> None:
    with pytest.raises(ToolFailed, match="HTTP 404"):
        use("web_fetch", caller, url=f"{site.url}/none")


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest", "file:///etc"])
def test_f46_no_page_leads_into_the_operators_network(caller: Caller, url: str) -> None:
    with pytest.raises(ToolFailed):
        use("web_fetch", caller, url=url)


def test_f27_a_busy_server_is_asked_again(site: Site, caller: Caller) -> None:
    answers = [document(503, {}), page("there", "text/plain")]
    site.answer = lambda received: answers.pop(0)
    assert use("web_fetch", caller, url=f"{site.url}/").endswith("there")


def test_a_stop_ends_a_page_that_does_not_come(site: Site, caller: Caller) -> None:
    site.pages["/slow"] = [3600.0]
    stopper = threading.Timer(0.2, caller.cancellation.cancel)
    stopper.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        use("web_fetch", caller, url=f"{site.url}/slow")
    assert time.monotonic() - began < 5
    stopper.join()


HARMFUL = {
    "comments": "<!--" * 200_000,
    "declarations": "<![CDATA[" * 100_000,
    "attributes": "<a b=" * 200_000,
    "quotes": "<a href='" * 100_000,
    "depth": "<div>" * 200_000 + "x",
    "left out": "<nav>" * 50_000 + "x",
}


# An alarm that goes off inside a finaliser is lost, which Python says; the next one ends it.
LOST_ALARM = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@LOST_ALARM
@pytest.mark.parametrize("what", HARMFUL)
def test_a_page_that_was_made_to_take_for_ever_is_given_up(
    what: str, site: Site, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "READ_SECONDS", 1)
    site.pages["/"] = page(HARMFUL[what])
    began = time.process_time()
    with pytest.raises(ToolFailed, match=r"takes too long to read|nested too deep"):
        use("web_fetch", caller, url=f"{site.url}/")
    assert time.process_time() - began < 30


def test_blanks_without_end_cost_nothing(site: Site, caller: Caller) -> None:
    site.pages["/"] = page("<main><p>" + " " * 900_000 + "rice</p></main>")
    began = time.process_time()
    assert use("web_fetch", caller, url=f"{site.url}/").endswith("rice")
    assert time.process_time() - began < 5


def test_of_a_giant_page_the_beginning_is_read(site: Site, caller: Caller) -> None:
    site.pages["/"] = page("<p>rice</p>" + "x" * web.HTML_MAX_CHARACTERS)
    text = use("web_fetch", caller, url=f"{site.url}/")
    assert "rice" in text
    assert text.endswith("[cut: the page is longer]")


@pytest.mark.parametrize("charset", ["utf-7", "unicode_escape", "raw_unicode_escape", "idna", "undefined", "hex", "no"])
def test_no_encoding_makes_what_cannot_be_stored(charset: str, site: Site, caller: Caller) -> None:
    site.pages["/"] = page("rice +2AA- \\ud800 \\x00", f"text/plain; charset={charset}")
    text = use("web_fetch", caller, url=f"{site.url}/")
    assert "rice" in text
    assert "\x00" not in text
    text.encode()


# Searches


def test_search_is_offered_only_where_it_is_configured(settings: Settings) -> None:
    assert system_tools.find("web_search") is None
    assert "web_search" in system_tools.names()
    settings.SEARXNG_URL = "http://127.0.0.1:8888"
    assert system_tools.find("web_search")


def test_a_search_goes_to_the_operators_own_server(settings: Settings, caller: Caller) -> None:
    found = [{"title": f"T{n}", "url": f"http://example.org/{n}", "content": "about rice"} for n in range(9)]
    with Site() as server:
        server.pages["/search"] = document(200, {"results": found})
        settings.SEARXNG_URL = server.url + "/"
        text = use("web_search", caller, query="rice & water", max_results=2)
    assert text == "1. T0\nhttp://example.org/0\nabout rice\n\n2. T1\nhttp://example.org/1\nabout rice"
    assert parse_qs(urlsplit(server.received[-1].path).query) == {"q": ["rice & water"], "format": ["json"]}


def test_a_search_server_that_gives_no_json_is_said_to(settings: Settings, caller: Caller) -> None:
    with Site() as server:
        server.pages["/search"] = page("<html>")
        settings.SEARXNG_URL = server.url
        with pytest.raises(ToolFailed, match="format json may be off"):
            use("web_search", caller, query="rice")


def test_where_the_search_server_is_concerns_the_operator_alone(
    settings: Settings, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    with Site() as server:
        settings.SEARXNG_URL = server.url
        with pytest.raises(ToolFailed, match="the search server cannot be reached") as failed:
            use("web_search", caller, query="rice")
    assert server.url not in str(failed.value)
    assert "HTTP 404" in caplog.text


def test_an_operators_server_may_have_an_address_of_version_6(settings: Settings) -> None:
    assert web._server("http://[::1]:8888/x") == "[::1]:8888"


# Tools of owners


def owned(alice: User, site: Site, **values: Any) -> Tool:
    terms: Mapping[str, Any] = {"name": "weather", "description": "…", "url": f"{site.url}/weather/{{city}}", **values}
    return Tool.objects.create(user=alice, **terms)


@pytest.mark.django_db
def test_arguments_go_into_the_url_and_the_rest_into_the_body(site: Site, caller: Caller, alice: User) -> None:
    site.pages["/weather/New%20York%2F1"] = page("sunny", "text/plain")
    tool = owned(alice, site, headers={"X-Plain": "1"}, encrypted_headers=encryption.encrypt('{"X-Key": "sesame"}'))
    assert user_tools.call(tool.pk, {"city": "New York/1", "days": 3}, caller) == "sunny"
    sent = site.received[-1]
    assert (sent.method, sent.body, sent.headers["x-key"]) == ("POST", {"days": 3}, "sesame")
    assert (sent.headers["x-plain"], sent.headers["content-type"]) == ("1", "application/json")


@pytest.mark.django_db
@pytest.mark.parametrize("city", ["..", "../admin", "x/../../admin", "..\\admin", "%2e%2e", "%2e%2e/admin"])
def test_no_argument_climbs_where_a_server_undoes_the_quoting_first(city: str, site: Site, alice: User) -> None:
    tool = owned(alice, site)
    if city.startswith("%"):  # quoted twice, it is a name like any other
        assert "%252e%252e" in user_tools.request_of(tool, {"city": city})[0]
        return
    with pytest.raises(ToolFailed, match="would change the path"):
        user_tools.request_of(tool, {"city": city})


@pytest.mark.django_db
def test_a_get_has_its_arguments_in_the_query(site: Site, caller: Caller, alice: User) -> None:
    tool = owned(alice, site, method="GET", url=f"{site.url}/find?x=1")
    site.pages["/find"] = page("", "text/plain")
    assert user_tools.call(tool.pk, {"q": "a&b", "deep": True}, caller) == "HTTP 200, without a body."
    assert site.received[-1].path == "/find?x=1&q=a%26b&deep=true"


@pytest.mark.django_db
def test_an_error_of_the_server_reaches_the_model_without_the_owners_secrets(
    site: Site, caller: Caller, alice: User
) -> None:
    site.pages["/weather/a"] = document(403, {"you sent": "sesame"})
    tool = owned(alice, site, encrypted_headers=encryption.encrypt('{"X-Key": "sesame"}'))
    with pytest.raises(ToolFailed) as failed:
        user_tools.call(tool.pk, {"city": "a"}, caller)
    assert str(failed.value) == 'HTTP 403: {"you sent": "[secret]"}'


@pytest.mark.django_db
def test_secrets_that_cannot_be_read_any_more_are_said_to(
    site: Site, caller: Caller, alice: User, settings: Settings
) -> None:
    tool = owned(alice, site, encrypted_headers=encryption.encrypt('{"X-Key": "sesame"}'))
    settings.SECRET_KEY = "another one"
    with pytest.raises(ToolFailed, match="must set them anew"):
        user_tools.call(tool.pk, {"city": "a"}, caller)
    assert not site.received


@pytest.mark.django_db
def test_an_argument_that_the_url_needs_must_be_there(site: Site, caller: Caller, alice: User) -> None:
    with pytest.raises(ToolFailed, match="needs the argument city"):
        user_tools.call(owned(alice, site).pk, {}, caller)


@pytest.mark.django_db
def test_an_owners_tool_does_not_reach_the_operators_network(caller: Caller, alice: User, site: Site) -> None:
    tool = owned(alice, site, url="http://10.0.0.1/")
    with pytest.raises(ToolFailed, match="not open from here"):
        user_tools.call(tool.pk, {}, caller)
