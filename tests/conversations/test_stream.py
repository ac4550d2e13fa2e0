"""The writer's side of a run's event stream."""

import threading
from collections.abc import Callable, Iterator

import pytest

from conversations import journal, runs, stream, turns
from conversations.models import Conversation, Message, Run
from conversations.stream import Publisher
from maintenance import broker, streams
from models_registry.backends.base import Cancellation, DeltaType
from tests.conversations import events
from tests.services import Valkey
from tests.waiting import eventually

Work = Callable[[], list[str]]
CONTENT = DeltaType.CONTENT


@pytest.fixture
def run(work: Work, conversation: Conversation) -> Run:
    """A run that this test holds as its worker would."""
    started = runs.start(conversation, "hello")
    held = turns.claim(started.pk, "t" * 32)
    assert held
    return held


@pytest.fixture
def cancellation() -> Cancellation:
    return Cancellation()


@pytest.fixture
def publisher(run: Run, cancellation: Cancellation) -> Iterator[Publisher]:
    with Publisher(run, journal.Draft(position=2), cancellation) as publishing:
        yield publishing


def chunks(run: Run) -> list[str]:
    return [data["chunk"] for name, data in events.published(run.conversation_id) if name == "text_chunk"]


def test_the_first_word_is_shown_at_once_and_was_stored_before(publisher: Publisher, run: Run) -> None:
    publisher.text(CONTENT, "Hello")
    eventually(lambda: chunks(run) == ["Hello"], within=5)
    message = Message.objects.get(run=run)
    assert (message.content, message.status, message.position) == ("Hello", "streaming", 2)


def test_words_in_quick_succession_share_events_and_none_is_lost(publisher: Publisher, run: Run) -> None:
    words = [f"word{n} " for n in range(2000)]
    for word in words:
        publisher.text(CONTENT, word)
    publisher.close()
    assert events.text_of(run.conversation_id, run.pk) == "".join(words)
    assert len(chunks(run)) < 500


def test_offsets_count_what_was_sent_before(publisher: Publisher, run: Run) -> None:
    for word in ("a🐢", "b", "c"):
        publisher.text(CONTENT, word)
        publisher.event("tool_executing", tool={})
    publisher.text(DeltaType.THINKING, "hm")
    publisher.close()
    texts = [data for name, data in events.published(run.conversation_id) if name == "text_chunk"]
    assert [(data["type"], data["offset"], data["chunk"]) for data in texts] == [
        ("content", 0, "a🐢"),
        ("content", 2, "b"),
        ("content", 3, "c"),
        ("thinking", 0, "hm"),
    ]


def test_events_keep_their_place_between_words(publisher: Publisher, run: Run) -> None:
    publisher.text(CONTENT, "before")
    publisher.event("tool_executing", tool={"name": "f"})
    publisher.text(CONTENT, "after")
    publisher.close()
    assert events.names(run.conversation_id) == ["text_chunk", "tool_executing", "text_chunk"]
    assert [data["seq"] for _, data in events.published(run.conversation_id)] == [1, 2, 3]


def test_words_that_wait_out_an_outage_come_afterwards_in_order(publisher: Publisher, run: Run, valkey: Valkey) -> None:
    publisher.text(CONTENT, "one ")
    eventually(lambda: chunks(run) == ["one "], within=5)
    valkey.stop()
    publisher.text(CONTENT, "two ")
    publisher.event("tool_executing", tool={})
    publisher.text(CONTENT, "three")
    valkey.start()
    publisher.close()
    assert events.text_of(run.conversation_id, run.pk) == "one two three"
    assert [data["seq"] for _, data in events.published(run.conversation_id)] == [1, 2, 3, 4]


def test_a_redis_that_stays_away_does_not_keep_the_turn(publisher: Publisher, run: Run, valkey: Valkey) -> None:
    valkey.stop()
    publisher.text(CONTENT, "nobody hears this")
    publisher.close()
    assert Message.objects.get(run=run).content == "nobody hears this"


def test_a_stop_reaches_a_silent_worker_through_the_database(
    publisher: Publisher, run: Run, cancellation: Cancellation
) -> None:
    Run.objects.filter(pk=run.pk).update(status=Run.Status.CANCELLING)
    eventually(lambda: cancellation.cancelled, within=5)
    assert not publisher.fenced


def test_a_stop_reaches_a_publishing_worker_by_the_signal(
    publisher: Publisher, run: Run, cancellation: Cancellation
) -> None:
    broker.quick().set(stream.cancel_signal(run.pk), 1)
    publisher.text(CONTENT, "word")
    eventually(lambda: cancellation.cancelled, within=5)


def test_a_writer_whose_lease_is_gone_publishes_nothing_more(
    publisher: Publisher, run: Run, cancellation: Cancellation
) -> None:
    Run.objects.filter(pk=run.pk).update(lease_token="somebody else's")
    publisher.text(CONTENT, "too late")
    eventually(lambda: cancellation.cancelled, within=5)
    publisher.close()
    assert publisher.fenced
    assert chunks(run) == []
    assert not Message.objects.filter(run=run).exists()


def test_leaving_ends_the_publishing(run: Run, cancellation: Cancellation) -> None:
    with Publisher(run, journal.Draft(position=2), cancellation) as publishing:
        publishing.text(CONTENT, "x")
    assert publishing._publishing
    assert publishing._publishing.done()


def test_the_thread_serves_the_next_turn_too(run: Run, cancellation: Cancellation) -> None:
    def publishers() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("publisher")}

    with Publisher(run, journal.Draft(position=2), cancellation):
        before = publishers()
    with Publisher(run, journal.Draft(position=2), cancellation):
        assert publishers() == before != set()


def test_text_that_is_not_stored_yet_is_not_shown(run: Run, cancellation: Cancellation) -> None:
    draft = journal.Draft(position=2)
    publishing = Publisher(run, draft, cancellation)
    publishing.text(CONTENT, "x")
    publishing.hand_over()
    with publishing:
        publishing.event("turn_started")
        eventually(lambda: publishing._publishing and publishing._publishing.running(), within=5)
        assert chunks(run) == []
        draft.message_id = 1
    assert chunks(run) == ["x"]


def test_f33_any_number_of_readers_see_the_same(publisher: Publisher, run: Run) -> None:
    publisher.text(CONTENT, "for everybody")
    publisher.close()
    assert events.published(run.conversation_id) == events.published(run.conversation_id) != []


def test_f38_a_stream_is_bounded_and_ends_with_its_time(publisher: Publisher, run: Run) -> None:
    publisher.text(CONTENT, "x")
    publisher.close()
    assert 0 < broker.quick().ttl(stream.key(run.conversation_id)) <= 3600


def test_an_append_is_all_or_nothing(valkey: Valkey) -> None:
    ids = streams.append("stream:test", [("a", {"n": 1}), ("b", {"text": "line\nbreak  "})])
    assert len(ids) == 2
    assert ids == sorted(ids)
    entries = broker.quick().xrange("stream:test")
    assert b"\n" not in entries[1][1][b"data"]
