"""What an execution writes at its end, when that is not easy."""

from collections.abc import Callable

from tests.maintenance import jobs

Work = Callable[[], list[str]]


def test_a_job_that_is_done_is_not_run_again_because_the_database_was_away_for_a_moment(work: Work) -> None:
    row = jobs.loses_the_database.enqueue()
    assert work() == ["succeeded"]
    row.refresh_from_db()
    assert (row.status, row.starts) == ("completed", 1)
    assert row.executions.get().outcome == "succeeded"


def test_an_error_may_say_what_no_database_stores(work: Work) -> None:
    row = jobs.fails_unspeakably.enqueue()
    assert work() == ["failed"]
    row.refresh_from_db()
    assert (row.status, row.error.split(":")[0]) == ("failed", "job_failed")
    attempt = row.executions.get()
    assert attempt.message == "no \\x00 file \\udcff"
    assert "RuntimeError: no \\x00 file \\udcff" in attempt.traceback
