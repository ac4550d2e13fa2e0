"""Images over the API: sent with a message, listed with it, and served to its owner alone."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from conversations.models import Conversation, Message
from tests.conversations.api.conftest import client_of, of
from tests.conversations.drawings import base64_of, gif, png

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


@pytest.fixture(autouse=True)
def uploads(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def say(api: APIClient, conversation: Conversation, *images: str, content: Any = "Look.", **headers: str) -> Any:
    body = {"content": content, "images": list(images)}
    return api.post(of(conversation, "messages"), body, headers=headers)


def listed(api: APIClient, conversation: Conversation) -> list[dict[str, Any]]:
    (message,) = api.get(of(conversation, "")[:-1]).json()["messages"]
    images: list[dict[str, Any]] = message["images"]
    return images


def test_f29_images_are_listed_with_their_real_type_and_served(api: APIClient, conversation: Conversation) -> None:
    said = say(api, conversation, f"data:image/jpeg;base64,{base64_of(png())}", base64_of(gif()))
    assert said.status_code == 202
    first, second = listed(api, conversation)
    assert set(first) == {"id", "media_type", "size_bytes", "url"}
    assert (first["media_type"], first["size_bytes"]) == ("image/png", len(png()))
    message = said.json()["message_id"]
    assert first["url"] == f"/api/v1/conversations/{conversation.pk}/messages/{message}/images/{first['id']}"
    answer = api.get(first["url"])
    assert (answer.status_code, answer.content) == (200, png())
    assert api.get(second["url"])["Content-Type"] == "image/gif"


def test_f42_a_browser_shows_an_image_and_does_nothing_else_with_it(api: APIClient, conversation: Conversation) -> None:
    say(api, conversation, base64_of(png(filling=b"<script>alert(1)</script>")))
    (image,) = listed(api, conversation)
    answer = api.get(image["url"], headers={"Accept": "image/png"})
    assert answer.status_code == 200
    assert {name: answer[name] for name in ("Content-Type", "X-Content-Type-Options", "Cache-Control")} == {
        "Content-Type": "image/png", "X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600",
    }  # fmt: skip
    assert answer["Content-Disposition"] == f'inline; filename="{image["id"]}.png"'
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_f18_nobody_else_sees_an_image(api: APIClient, conversation: Conversation, charlie: User, bob: User) -> None:
    say(api, conversation, base64_of(png()))
    (image,) = listed(api, conversation)
    for user in (charlie, bob):
        answer = client_of(user).get(image["url"])
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert APIClient().get(image["url"]).status_code == 401


def test_an_image_is_found_in_its_own_message_only(api: APIClient, conversation: Conversation) -> None:
    say(api, conversation, base64_of(png()))
    (image,) = listed(api, conversation)
    other = Conversation.objects.create(user=conversation.user, agent=conversation.agent)
    url = image["url"]
    for wrong in (
        url.replace(f"conversations/{conversation.pk}/", f"conversations/{other.pk}/"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        f"{url}.png",
        url.replace(image["id"], "..%2F..%2Fsecret_key"),
    ):
        assert api.get(wrong).status_code == 404


def test_a_lost_file_is_404(api: APIClient, conversation: Conversation, uploads: Path) -> None:
    say(api, conversation, base64_of(png()))
    (image,) = listed(api, conversation)
    next(uploads.rglob("*.png")).unlink()
    assert api.get(image["url"]).status_code == 404


@pytest.mark.parametrize("content", ["", " \n"])
def test_images_may_come_without_words(api: APIClient, conversation: Conversation, content: str) -> None:
    assert say(api, conversation, base64_of(png()), content=content).status_code == 202
    assert Message.objects.get().content == content
    assert say(api, conversation, content=content).json()["errors"] == {"content": ["This field may not be blank."]}


def test_content_is_required_all_the_same(api: APIClient, conversation: Conversation) -> None:
    answer = api.post(of(conversation, "messages"), {"images": [base64_of(png())]})
    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["content"])


def test_what_cannot_be_taken_is_named_with_its_place(api: APIClient, conversation: Conversation) -> None:
    answer = say(api, conversation, base64_of(png()), base64_of(b"hello"))
    assert answer.status_code == 422
    assert answer.json()["errors"] == {"images.1": ["This is no picture: PNG, JPEG, GIF and WebP are taken."]}
    assert not Message.objects.exists()
    (name,) = api.post(of(conversation, "messages"), {"content": "x", "images": [["a"]]}).json()["errors"]
    assert name == "images.0"


def test_f51_limits_of_images_are_413_and_named(api: APIClient, conversation: Conversation, settings: Settings) -> None:
    picture = base64_of(png())
    assert say(api, conversation, *[picture] * 9).json() == {
        "message": "A message has at most 8 images.",
        "code": "too_large",
        "errors": {"images": ["A message has at most 8 images."]},
    }
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = len(picture)
    answer = say(api, conversation, picture)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.json()["message"] == f"The body of a request has at most {len(picture)} bytes."


def test_what_a_message_may_have_fits_the_body_of_a_request(settings: Settings) -> None:
    words = settings.MESSAGE_MAX_BYTES * 6  # every character escaped
    assert settings.IMAGES_MAX_BYTES * 4 / 3 + words + 4096 < settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    assert settings.IMAGE_MAX_BYTES <= settings.IMAGES_MAX_BYTES


def test_the_same_message_sent_again_stores_nothing_twice(
    api: APIClient, conversation: Conversation, uploads: Path
) -> None:
    answers = [say(api, conversation, base64_of(png()), **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(list(uploads.rglob("*.png"))) == 1
    assert say(api, conversation, base64_of(gif()), **{"Idempotency-Key": "k"}).status_code == 409
