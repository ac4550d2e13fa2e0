"""An operator attaches an image to a message and sees it in the conversation."""

from pathlib import Path

from django.contrib.auth.models import User
from playwright.sync_api import expect

from conversations.models import Conversation, Message
from tests.acceptance.conftest import Workers
from tests.browser.conftest import OpenScreen
from tests.conversations.drawings import png

IS_DRAWN = "image => image.complete && image.naturalWidth > 0"


def test_an_image_is_attached_sent_without_words_and_shown(
    screen_of: OpenScreen, workers: Workers, bob: User, conversation: Conversation, tmp_path: Path
) -> None:
    picture, too_large = tmp_path / "a.png", tmp_path / "large.png"
    picture.write_bytes(png(2, 1))
    too_large.write_bytes(png() + bytes(11 * 1024 * 1024))
    page = screen_of(bob).page
    page.goto(f"/admin/conversations/conversation/{conversation.pk}/change/")
    field = page.locator("#composer [name=images]")
    field.set_input_files(too_large)
    assert field.evaluate("field => field.validationMessage") == "large.png is larger than 10 MiB."
    page.click("#composer button")
    field.set_input_files(picture)
    page.click("#composer button")
    shown = page.locator(".bubble-user .picture img")
    expect(shown).to_have_count(1)
    expect(page.locator("#runs .badge")).to_have_text("completed")
    assert shown.evaluate(IS_DRAWN)
    assert field.evaluate("field => field.value") == ""
    expect(page.locator("#runs")).to_contain_text("Images were left out: echo takes none.")
    assert Message.objects.filter(role="user").count() == 1
    page.reload()
    expect(shown).to_have_count(1)
