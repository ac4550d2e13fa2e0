"""The files behind a message's pictures: written, shared with nobody, removed with their conversation."""

import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from pytest_django.fixtures import Settings

from conversations import forks, picture_files, pictures, removal, replays, runs
from conversations.models import Conversation, Message, Run
from conversations.pictures import Picture
from maintenance import cleanup
from maintenance.errors import Refusal
from tests.conversations.drawings import gif, png

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey"), pytest.mark.databases]

Work = Callable[[], list[str]]
TWO = pictures.check([png(), gif()])


@pytest.fixture(autouse=True)
def uploads(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "uploads"
    settings.DATA_DIR = tmp_path
    return tmp_path / "uploads"


def files(uploads: Path) -> list[Path]:
    return sorted(path for path in uploads.rglob("*") if path.is_file())


def say(conversation: Conversation, images: Sequence[Picture] = TWO, **options: Any) -> Message:
    runs.start(conversation, "Look.", images=images, **options)
    return Message.objects.latest("pk")


def aged(path: Path, hours: float) -> None:
    moment = time.time() - hours * 3600
    os.utime(path, (moment, moment))


def cleaned() -> dict[str, Any]:
    report: dict[str, Any] = cleanup.clean(cleanup.TEMPORARY)["sections"]["temporary_files"]
    return report


def test_f29_a_picture_is_kept_as_a_file_of_its_own(conversation: Conversation, uploads: Path) -> None:
    message = say(conversation)
    assert [(row["media_type"], row["size_bytes"]) for row in message.images] == [
        ("image/png", len(png())), ("image/gif", len(gif())),
    ]  # fmt: skip
    assert [(uploads / row["path"]).read_bytes() for row in message.images] == [png(), gif()]
    assert [Path(row["path"]).suffix for row in message.images] == [".png", ".gif"]
    assert len(files(uploads)) == 2
    for path in files(uploads):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_refused_message_leaves_no_file(conversation: Conversation, uploads: Path) -> None:
    say(conversation, [])
    with pytest.raises(Refusal):
        say(conversation, on_busy="reject")
    assert files(uploads) == []


@pytest.mark.parametrize("on_busy", ["enqueue", "interrupt", "steer"])
def test_a_message_of_every_kind_has_its_pictures(conversation: Conversation, uploads: Path, on_busy: str) -> None:
    say(conversation, [])
    message = say(conversation, on_busy=on_busy)
    assert [picture_files.data_of(row) for row in message.images] == [png(), gif()]


def test_a_disk_that_takes_nothing_is_a_refusal(conversation: Conversation, uploads: Path) -> None:
    uploads.mkdir()
    (uploads / "images").write_text("a file where the folder should be")
    with pytest.raises(Refusal) as raised:
        say(conversation)
    assert (raised.value.status_code, raised.value.code) == (503, "not_stored")
    assert not Message.objects.exists()


def test_files_of_a_transaction_that_failed_are_removed_a_day_later(conversation: Conversation, uploads: Path) -> None:
    with transaction.atomic():
        say(conversation)
        transaction.set_rollback(True)
    orphans = files(uploads)
    assert len(orphans) == 2
    aged(orphans[0], 25)
    aged(orphans[1], 23)
    assert cleaned()["removed"] == 1
    assert files(uploads) == orphans[1:]


def test_a_file_that_a_message_names_is_never_removed(conversation: Conversation, uploads: Path) -> None:
    message = say(conversation)
    stray = uploads / "images" / str(conversation.pk) / f"{'0' * 32}.png"
    strange = uploads / "images" / "elsewhere.png"
    for path in (stray, strange):
        path.write_bytes(png())
    for path in files(uploads):
        aged(path, 24 * 400)
    report = cleaned()
    assert (report["removed"], report["kept"]) == (2, 2)
    assert [picture_files.data_of(row) for row in message.images] == [png(), gif()]


def test_which_files_are_needed_is_one_query_for_any_number(
    conversation: Conversation, django_assert_num_queries: Any
) -> None:
    named = [row["path"] for _ in range(3) for row in say(conversation).images]
    with django_assert_num_queries(1):
        assert picture_files.in_use([*named, f"images/{conversation.pk}/{'0' * 32}.png", "images/x"]) == set(named)
    with django_assert_num_queries(0):
        assert picture_files.in_use(["temp/a.png", "images/../7/secret.png"]) == set()


def test_a_deleted_conversation_takes_its_files_along(conversation: Conversation, uploads: Path) -> None:
    other = Conversation.objects.create(user=conversation.user, agent=conversation.agent)
    say(conversation)
    kept = say(other)
    with transaction.atomic():
        removal.delete(Conversation.objects.get(pk=conversation.pk))
        transaction.set_rollback(True)
    assert len(files(uploads)) == 4  # only what is committed is deleted
    removal.delete(conversation)
    assert [str(path.relative_to(uploads)) for path in files(uploads)] == sorted(row["path"] for row in kept.images)
    removal.delete_agent(other.agent)
    assert files(uploads) == []


def test_a_fork_and_its_original_outlive_each_other(conversation: Conversation, work: Work, uploads: Path) -> None:
    say(conversation)
    work()
    forked = forks.fork(conversation, 2)
    again = forks.fork(forked, 2)
    removal.delete(conversation)
    copied = forked.messages.get(role="user")
    assert [picture_files.data_of(row) for row in copied.images] == [png(), gif()]
    removal.delete(again)
    assert [picture_files.data_of(row) for row in copied.images] == [png(), gif()]
    assert picture_files.in_use([row["path"] for row in copied.images]) == {row["path"] for row in copied.images}
    removal.delete(forked)
    assert files(uploads) == []


def test_what_a_fork_copied_is_no_orphan_before_its_commit(
    conversation: Conversation, work: Work, uploads: Path
) -> None:
    say(conversation)
    work()
    for path in files(uploads):
        aged(path, 48)
    forks.fork(conversation, 2)
    assert all(path.stat().st_mtime > time.time() - 60 for path in files(uploads))


def test_a_fork_of_what_is_lost_works(conversation: Conversation, work: Work, uploads: Path) -> None:
    say(conversation)
    work()
    for path in files(uploads):
        path.unlink()
    (row, _) = forks.fork(conversation, 2).messages.get(role="user").images
    assert picture_files.data_of(row) is None


def test_a_replay_has_the_pictures_of_its_question(conversation: Conversation, work: Work) -> None:
    say(conversation)
    work()
    replayed = replays.replay(Run.objects.get().snapshot)
    removal.delete(conversation)
    assert [picture_files.data_of(row) for row in replayed.user_message.images] == [png(), gif()]
