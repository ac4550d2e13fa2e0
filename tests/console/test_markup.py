"""Every page works under a policy that allows nothing inline and nothing from elsewhere."""

from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import User
from django.test import Client

from conversations.models import Conversation
from maintenance import queues
from maintenance.models import Job
from tests.console.pages import addresses
from tests.services import Valkey

pytestmark = pytest.mark.django_db


class Inline(HTMLParser):
    """Collects what the policy would block."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.found += [f"{tag} {name}" for name in values if name == "style" or name.startswith("on")]
        self.found += list(self._foreign(tag, values))
        executed = tag == "script" and values.get("type") in (None, "", "text/javascript", "module")
        self._inside = tag if tag == "style" or (executed and "src" not in values) else ""

    def _foreign(self, tag: str, values: dict[str, str | None]) -> Iterator[str]:
        for name in ("src", "href", "action"):
            address = values.get(name) or ""
            if address.startswith(("http:", "https:", "//", "javascript:")):
                yield f"{tag} {name} {address}"

    def handle_data(self, data: str) -> None:
        if self._inside and data.strip():
            self.found.append(f"{self._inside}: {data.strip()[:60]}")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def test_no_page_has_anything_inline_or_foreign(
    bobs: Client, bob: User, conversation: Conversation, failed_job: Job, valkey: Valkey
) -> None:
    rq_id = queues.rq_id(failed_job.pk, failed_job.dispatch)
    queues.carry(failed_job)
    pages = [
        *addresses(conversation, failed_job, bob.pk),
        f"/admin/django-rq/queues/0/{rq_id}/",
        "/admin/login/",
        "/admin/no/such/page/",
    ]
    found = {}
    for address in pages:
        client = Client() if "login" in address else bobs
        answer = client.get(address)
        assert answer.status_code == (404 if "such" in address else 200), address
        parser = Inline()
        parser.feed(answer.content.decode())
        if parser.found:
            found[address] = parser.found
    assert found == {}


def test_a_refusal_is_a_page_of_ours(alices: Client) -> None:
    answer = alices.get("/admin/maintenance/job/")
    parser = Inline()
    parser.feed(answer.content.decode())
    assert answer.status_code == 403
    assert "Your account may not do this" in answer.content.decode()
    assert parser.found == []


def test_the_policy_is_sent(bobs: Client, valkey: Valkey) -> None:
    policy = bobs.get("/admin/")["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-inline" not in policy


def test_what_the_policy_would_block_is_found() -> None:
    parser = Inline()
    parser.feed('<p style="a" onclick="b"><style>c</style><script>d</script><img src="https://elsewhere.example/e">')
    assert parser.found == ["p style", "p onclick", "style: c", "script: d", "img src https://elsewhere.example/e"]
