"""The arithmetic of a pull, for what servers send and for what they should not send."""

from hypothesis import given, settings
from hypothesis import strategies as st

from models_registry.backends.base import PullProgress
from models_registry.pulling.progress import BYTES_MAX, LAYERS_MAX, Progress
from tests.models_registry.downloads import MANIFEST, SUCCESS, layer

NUMBERS = st.none() | st.integers(min_value=-10, max_value=2000) | st.integers()
LINES = st.lists(
    st.tuples(
        st.builds(
            PullProgress,
            phase=st.text(max_size=20),
            digest=st.sampled_from(["", "sha256:a", "sha256:b", "sha256:c"]),
            total=NUMBERS,
            completed=NUMBERS,
        ),
        st.floats(min_value=0, max_value=100),
    ),
    max_size=40,
)


@settings(deadline=None, database=None)
@given(lines=LINES, begun_at=st.floats(min_value=0, max_value=99))
def test_whatever_the_server_says_nothing_falls_and_nothing_is_negative(
    lines: list[tuple[PullProgress, float]], begun_at: float
) -> None:
    progress, now = Progress(percentage=begun_at), 0.0
    percentage, completed = begun_at, {}  # type: float, dict[str, int]
    for line, pause in lines:
        now += pause
        progress.take(line, now)
        assert percentage <= progress.percentage <= 100
        percentage = progress.percentage
        for one in progress.layers:
            assert completed.get(one["digest"], 0) <= one["completed"] <= (one["total"] or BYTES_MAX)
            completed[one["digest"]] = one["completed"]
        assert progress.speed is None or 0 <= progress.speed <= BYTES_MAX
        assert progress.eta is None or progress.eta >= 0
        assert 0 <= progress.completed <= progress.total
    progress.finish()
    assert progress.percentage == 100


def test_a_pull_as_a_server_tells_it() -> None:
    progress = Progress()
    progress.take(MANIFEST, 0)
    assert (progress.percentage, progress.layers, progress.speed) == (0, [], None)
    progress.take(layer("a", 4000), 1)
    progress.take(layer("a", 4000, 1000), 2)
    assert (progress.percentage, progress.speed, progress.eta) == (25, 1000, 3)
    progress.take(layer("a", 4000, 800), 3)  # a part failed
    assert (progress.percentage, progress.completed) == (25, 1000)
    assert progress.speed is not None
    assert 0 < progress.speed < 1000
    progress.take(layer("a", 4000, 4000), 4)
    assert progress.percentage == 99  # it is not there before the server says so
    progress.take(layer("b", 4000), 5)
    assert (progress.percentage, progress.total, progress.speed) == (99, 8000, None)
    progress.take(SUCCESS, 6)
    progress.finish()
    assert (progress.percentage, progress.completed) == (100, 8000)


def test_what_is_there_already_has_no_speed() -> None:
    progress = Progress()
    progress.take(layer("a", 10**9, 10**9), 1)
    assert (progress.speed, progress.eta) == (None, None)


def test_it_goes_on_where_an_earlier_execution_was() -> None:
    first = Progress()
    first.take(layer("a", 100, 50), 1)
    second = Progress(first.layers, first.percentage)
    second.take(layer("a", 100, 10), 2)
    assert (second.percentage, second.completed) == (50, 50)


def test_a_server_without_end_fills_no_memory() -> None:
    progress = Progress()
    for number in range(LAYERS_MAX + 50):
        progress.take(layer(str(number), BYTES_MAX, BYTES_MAX), 1)
    assert len(progress.layers) == LAYERS_MAX
    assert progress.total < 2**63


def test_a_size_that_is_told_late_takes_nothing_back() -> None:
    progress = Progress()
    for line in (layer("a", None, 2), layer("a", 1)):
        progress.take(line, 1)
    assert progress.layers == [{"digest": "sha256:a", "total": 2, "completed": 2}]
