"""What one reader of a pull is told, whatever two workers publish at once and however often it comes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance import streams
from maintenance.streams import Entry
from models_registry.pulling.events import TERMINAL
from models_registry.pulling.following import Follower, Stored
from tests.asgi import Event, parse

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["started", *["progress"] * 8, "completed", "failed", "cancelled"]),
        st.integers(min_value=1, max_value=20),
        st.floats(min_value=0, max_value=100),
    ),
    max_size=30,
)


def entry(number: int, name: str, seq: int, percentage: float) -> Entry:
    data = {"seq": seq, "percentage": percentage} if name != "started" else {"seq": seq}
    return Entry(f"{number}-0", name, streams.dumps(data).encode())


def stored(status: str, seq: int, percentage: float) -> Stored:
    name = "progress" if status == "running" else status
    return Stored("p", status, "m", "b", (name, {"seq": seq, "percentage": percentage}))


def events(body: bytes) -> list[Event]:
    return [event for block in body.decode().split("\n\n") if block and (event := parse(block))]


def percentages(heard: list[Event]) -> list[float]:
    return [event.data["percentage"] for event in heard if "percentage" in event.data and event.name == "progress"]


@settings(deadline=None, database=None)
@given(published=EVENTS, seq=st.integers(0, 20), percentage=st.floats(0, 100), cut=st.integers(0, 30))
def test_nothing_falls_and_there_is_one_end(
    published: list[tuple[str, int, float]], seq: int, percentage: float, cut: int
) -> None:
    """The reader breaks off after `cut` events and comes back with the cursor it has."""
    entries = [entry(number, *one) for number, one in enumerate(published, 1)]
    first, second = Follower(), Follower()
    before = events(first.begin(stored("running", seq, percentage), None) + first.feed(entries[:cut]))
    assert percentages(before) == sorted(percentages(before))
    known = next((one for one in reversed(entries) if before[-1].id == one.id), None)
    if known:
        second.stand_behind(known)
    rest = entries[entries.index(known) + 1 :] if known else entries
    after = events(second.feed(rest) + second.close(stored("completed", 21, 100)))
    assert percentages(after) == sorted(percentages(after))
    assert [event.name in TERMINAL for event in before + after].count(True) == 1
    assert (before + after)[-1].name in TERMINAL


def test_the_beginning_is_told_once_though_the_database_knows_of_it_first() -> None:
    reader, data = Follower(), {"seq": 0, "percentage": 0.0}
    known = Stored("p", "running", "m", "b", ("progress", data), begun=("started", {"seq": 1}))
    heard = events(reader.begin(known, None) + reader.feed([entry(1, "started", 1, 0), entry(2, "progress", 2, 5)]))
    assert [event.name for event in heard] == ["started", "progress", "progress"]
