import io

import pytest

from maintenance.output import OperatorCommand, counted, redis_name, table


class Terminal(io.StringIO):
    """Somebody who types this."""

    def isatty(self) -> bool:
        return True


def test_columns_are_aligned_and_numbers_stand_to_the_right() -> None:
    rows = [("high", 3, "ok"), ("default", 12, None)]
    assert table(("queue", "waiting", "state"), rows) == [
        "QUEUE    WAITING  STATE",
        "high           3  ok",
        "default       12  –",
    ]


def test_what_comes_from_outside_cannot_control_the_terminal() -> None:
    assert table(("error",), [("\x1b[2Jbroken\nline",)]) == ["ERROR", " [2Jbroken line"]


def test_a_table_without_rows_is_its_headings() -> None:
    assert table(("a", "b"), []) == ["A  B"]


def test_it_counts_in_words() -> None:
    assert [counted(n, "job") for n in (0, 1, 1234)] == ["0 jobs", "1 job", "1,234 jobs"]


def test_redis_is_named_without_its_password(settings: object) -> None:
    settings.REDIS_URL = "redis://someone:hush@redis.example:6380/2"  # type: ignore[attr-defined]
    assert redis_name() == "Redis at redis.example:6380"


@pytest.mark.parametrize(
    ("stdin", "force", "goes_on"),
    [
        (Terminal("y\n"), False, True),
        (Terminal("YES\n"), False, True),
        (Terminal("\n"), False, False),
        (Terminal("n\n"), True, True),
        (io.StringIO("y\n"), False, False),
    ],
)
def test_it_asks_at_a_terminal_only_and_never_on_stdout(
    stdin: io.StringIO, force: bool, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    command = OperatorCommand(stdout=(out := io.StringIO()), stderr=(err := io.StringIO()))
    assert command.confirmed({"force": force}, "Delete all?", unasked=False) is goes_on
    assert out.getvalue() == ""
    assert ("Delete all? [y/N] " in err.getvalue()) is (stdin.isatty() and not force)
