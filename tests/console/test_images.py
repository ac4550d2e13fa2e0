"""Images in the console: attached as files, shown from an address that needs its permission."""

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from conversations import picture_files, pictures
from conversations.models import Conversation, Message
from maintenance.models import AuditEntry
from tests.conversations.drawings import gif, png

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
JSON = {"Accept": "application/json"}


@pytest.fixture(autouse=True)
def uploads(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def page_of(conversation: Conversation, tail: str) -> str:
    return f"/admin/conversations/conversation/{conversation.pk}/{tail}"


def file(data: bytes, name: str = "a.png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data, content_type="text/html")


def pictured(conversation: Conversation) -> Message:
    images = picture_files.keep(pictures.check([png()]), conversation.pk)
    return Message.objects.create(conversation=conversation, position=1, role="user", images=images)


def test_files_go_along_with_a_message(bobs: Client, conversation: Conversation) -> None:
    body = {"content": "Look.", "images": [file(png()), file(gif(), "b.html")]}
    answer = bobs.post(page_of(conversation, "send/"), body, headers=JSON)
    assert answer.status_code == 202
    images = Message.objects.get().images
    assert [picture_files.data_of(row) for row in images] == [png(), gif()]
    assert [row["media_type"] for row in images] == ["image/png", "image/gif"]


def test_a_form_without_a_script_sends_them_too(bobs: Client, conversation: Conversation) -> None:
    bobs.post(page_of(conversation, "send/"), {"content": "", "images": [file(png())]})
    assert len(Message.objects.get().images) == 1


def test_what_is_no_picture_is_refused_in_words(bobs: Client, conversation: Conversation, settings: Settings) -> None:
    answer = bobs.post(page_of(conversation, "send/"), {"content": "x", "images": [file(b"MZ")]}, headers=JSON)
    assert (answer.status_code, answer.json()["text"]) == (422, f"Image 1 cannot be taken. {pictures.NO_PICTURE}")
    settings.IMAGE_MAX_BYTES = 10
    answer = bobs.post(page_of(conversation, "send/"), {"content": "x", "images": [file(png())]}, headers=JSON)
    assert (answer.status_code, answer.json()["text"]) == (413, "An image has at most 10 bytes.")
    assert not Message.objects.exists()
    assert AuditEntry.objects.filter(verb="conversation.send").count() == 2


def test_the_page_shows_them_from_an_address_of_its_own(bobs: Client, conversation: Conversation) -> None:
    message = pictured(conversation)
    (shown,) = bobs.get(page_of(conversation, "state/")).json()["messages"][0]["images"]
    assert shown["url"] == page_of(conversation, f"messages/{message.pk}/images/{message.images[0]['id']}/")
    answer = bobs.get(shown["url"])
    assert (answer.status_code, answer["Content-Type"], answer.content) == (200, "image/png", png())
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert b'enctype="multipart/form-data"' in bobs.get(page_of(conversation, "change/")).content


def test_only_operators_who_may_look_at_conversations_see_them(
    client: Client, charlie: User, conversation: Conversation
) -> None:
    message = pictured(conversation)
    url = reverse("admin:conversations_conversation_image", args=[conversation.pk, message.pk, message.images[0]["id"]])
    assert client.get(url).status_code == 302
    charlie.is_staff = True
    charlie.save()
    client.force_login(charlie)
    assert client.get(url).status_code == 403


def test_an_image_of_another_conversation_is_not_found(bobs: Client, conversation: Conversation) -> None:
    message = pictured(conversation)
    other = Conversation.objects.create(user=conversation.user, agent=conversation.agent)
    assert bobs.get(page_of(other, f"messages/{message.pk}/images/{message.images[0]['id']}/")).status_code == 404
