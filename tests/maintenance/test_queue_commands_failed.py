"""Looking at failed jobs, retrying, forgetting and clearing them."""

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from conversations import runs
from conversations.models import Conversation, Run
from maintenance.management.commands import queue_retry
from maintenance.models import AuditEntry, Job
from tests.maintenance import jobs
from tests.maintenance.commands import failed, manage, waiting
from tests.services import Valkey

Work = Callable[[], list[str]]
HOUR = timedelta(hours=1)
NOBODY = "0" * 32


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


def at_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))


@pytest.mark.django_db
class TestFailed:
    def test_it_says_so_when_there_are_none(self) -> None:
        assert manage("queue_failed").out == "No job has failed.\n"
        said = manage("queue_failed", "--queue", "low", "--since", "2h")
        assert (said.code, said.out) == (0, "No failed job matches --queue --since.\n")
        assert manage("queue_failed", "--json").value == {"count": 0, "count_is_capped": False, "jobs": []}

    def test_it_lists_the_newest_first(self) -> None:
        rows = [failed(ago=2 * HOUR), failed(queue="low", error="timeout: The job took too long.")]
        waiting()
        head, *lines = manage("queue_failed").out.splitlines()
        assert head.split() == ["ID", "FAILED", "QUEUE", "JOB", "STARTS", "ERROR"]
        assert lines[0].split()[0] == rows[1].pk
        assert lines[1].split()[:6] == [rows[0].pk, "2", "h", "ago", "default", "write_line"]
        assert lines[-1].startswith("2 of 2.")

    def test_it_has_filters_and_a_limit(self) -> None:
        rows = [failed(queue="low", tags=["a:1"], exception="builtins.KeyError") for _ in range(3)]
        failed()
        words = ["--queue", "low", "--tag", "a:1", "--exception", "KeyError", "--name", "write_line", "--since", "1h"]
        value = manage("queue_failed", *words, "--limit", "2", "--json").value
        assert [job["id"] for job in value["jobs"]] == [rows[2].pk, rows[1].pk]
        assert value["count"] == 3
        assert value["jobs"][0]["exception_class"] == "builtins.KeyError"

    def test_one_job_shows_arguments_masked_attempts_and_traceback(self) -> None:
        job = failed(arguments={"path": "/tmp/x", "api_key": "hush"}, tags=["a:1"])
        said = manage("queue_failed", job.pk)
        assert said.code == 0
        assert "arguments  path='/tmp/x', api_key='••••••'" in said.out
        assert "job_failed: It broke." in said.out
        assert "builtins.RuntimeError" in said.out
        assert said.out.endswith("  File x\nRuntimeError: it broke\n")
        value = manage("queue_failed", job.pk, "--json").value
        assert value["arguments"] == {"path": "/tmp/x", "api_key": "••••••"}
        assert value["attempts"][0]["traceback"].startswith("Traceback")
        assert (value["tags"], value["attempts"][0]["outcome"]) == (["a:1"], "failed")
        assert "hush" not in said.out + str(value)

    def test_a_job_that_was_never_started_has_no_attempts(self) -> None:
        job = waiting(status="cancelled")
        assert "It was never started." in manage("queue_failed", job.pk).out

    def test_an_unknown_id_is_1(self) -> None:
        said = manage("queue_failed", NOBODY, "--json")
        assert (said.code, said.out, said.err) == (1, "", f"There is no job {NOBODY}.")

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (["--queue", "slow"], "no queue"),
            (["--since", "yesterday"], "neither a duration"),
            (["--limit", "0"], "at least 1"),
        ],
    )
    def test_it_says_what_is_wrong_with_a_filter(self, words: list[str], why: str) -> None:
        said = manage("queue_failed", *words)
        assert said.code == 1
        assert why in said.err


class TestRetry:
    def test_named_jobs_run_again(self, work: Work, path: str) -> None:
        rows = [failed(arguments={"path": path, "text": str(n)}) for n in range(2)]
        said = manage("queue_retry", rows[0].pk)
        assert (said.code, said.out) == (0, f"{rows[0].pk} queued again\n")
        assert work() == ["succeeded"]
        assert Path(path).read_text() == "0\n"
        assert Job.objects.get(pk=rows[1].pk).status == "failed"

    def test_all_that_match_run_again_in_the_order_they_were_made(self, work: Work, path: str) -> None:
        for n in range(3):
            failed(arguments={"path": path, "text": str(n)}, tags=["a:1"])
        failed(arguments={"path": path, "text": "other"})
        said = manage("queue_retry", "--all", "--tag", "a:1")
        assert (said.code, said.out) == (0, "3 jobs queued again.\n")
        assert work() == ["succeeded"] * 3
        assert Path(path).read_text().split() == ["0", "1", "2"]

    def test_a_job_that_cannot_be_retried_is_1_and_the_others_are(self, work: Work, path: str) -> None:
        good, gone = failed(arguments={"path": path, "text": "x"}), failed(name="no_such_function")
        said = manage("queue_retry", good.pk, NOBODY, gone.pk, "--json")
        assert said.code == 1
        assert said.value["retried"] == [{"id": good.pk, "job": good.pk}]
        assert [refused["id"] for refused in said.value["refused"]] == [NOBODY, gone.pk]
        assert work() == ["succeeded"]
        said = manage("queue_retry", "--all")
        assert (said.code, said.out) == (
            1,
            "0 jobs queued again.\n1 not: There is no job function no_such_function any more.\n",
        )

    def test_a_retry_that_is_a_new_job_names_it(self, work: Work, conversation: Conversation) -> None:
        run = runs.start(conversation, "hello")
        manage("queue_clear", "default", "--force")
        said = manage("queue_retry", str(run.job_id), "--json")
        again = Run.objects.get(retry_of=run)
        assert said.value["retried"] == [{"id": str(run.job_id), "job": again.job_id}]

    def test_a_dry_run_says_which_and_does_nothing(self, valkey: Valkey, transactional_db: None) -> None:
        rows = [failed(), failed(queue="low")]
        said = manage("queue_retry", "--all", "--queue", "low", "--dry-run")
        assert said.code == 0
        assert rows[1].pk in said.out
        assert rows[0].pk not in said.out
        assert said.out.endswith("1 would be run again. Nothing was done.\n")
        said = manage("queue_retry", rows[0].pk, NOBODY, "--dry-run", "--json")
        assert (said.code, said.value["ids"], said.value["refused"]) == (1, [rows[0].pk], [NOBODY])
        assert set(Job.objects.values_list("status", flat=True)) == {"failed"}
        assert not AuditEntry.objects.exists()

    def test_it_says_so_when_none_matches(self, valkey: Valkey, transactional_db: None) -> None:
        said = manage("queue_retry", "--all")
        assert (said.code, said.out) == (0, "No failed job matches.\n")
        assert manage("queue_retry", "--all", "--dry-run").out == "0 would be run again. Nothing was done.\n"

    @pytest.mark.parametrize("words", [[], ["--all", NOBODY], [NOBODY, "--queue", "low"]])
    def test_it_wants_ids_or_all(self, valkey: Valkey, transactional_db: None, words: list[str]) -> None:
        assert manage("queue_retry", *words).code == 2

    def test_at_a_terminal_it_asks_before_many(self, work: Work, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for n in range(2):
            failed(arguments={"path": path, "text": str(n)})
        at_terminal(monkeypatch, "n\n")
        said = manage("queue_retry", "--all")
        assert (said.code, said.out) == (1, "")
        assert "Run 2 jobs again? [y/N]" in said.err
        assert work() == []
        at_terminal(monkeypatch, "n\n")
        assert manage("queue_retry", "--all", "--force").code == 0
        assert work() == ["succeeded"] * 2

    def test_it_tells_how_far_it_is(self, work: Work, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(queue_retry, "PROGRESS_EVERY", 2)
        for n in range(4):
            failed(arguments={"path": path, "text": str(n)})
        said = manage("queue_retry", "--all", "--json")
        assert said.err.splitlines() == ["2 of 4", "4 of 4"]
        assert len(said.value["retried"]) == 4

    def test_it_leaves_one_line_in_the_audit(self, work: Work, path: str) -> None:
        one = failed(arguments={"path": path, "text": "x"})
        failed(name="no_such_function", queue="low")
        manage("queue_retry", one.pk)
        manage("queue_retry", "--all", "--queue", "low")
        many, single = AuditEntry.objects.all()
        assert (single.verb, single.target, single.result) == ("job.retry", f"job:{one.pk}", "ok")
        assert (many.target, many.result, many.detail["queue"]) == ("jobs", "1 refused", "low")

    def test_without_redis_the_job_waits_for_its_return(self, valkey: Valkey, work: Work, path: str) -> None:
        row = failed(arguments={"path": path, "text": "x"})
        valkey.stop()
        assert manage("queue_retry", row.pk).code == 0
        assert Job.objects.get(pk=row.pk).status == "pending"


@pytest.mark.django_db
class TestForget:
    def test_it_deletes_and_says_what_it_could_not(self) -> None:
        gone, busy = failed(), waiting()
        said = manage("queue_forget", gone.pk, busy.pk)
        assert said.code == 1
        assert said.out.splitlines() == [
            f"{gone.pk} forgotten",
            f"{busy.pk} not forgotten: The job is queued; only one that ended can be forgotten.",
        ]
        assert list(Job.objects.all()) == [busy]
        assert AuditEntry.objects.count() == 2

    def test_json(self) -> None:
        job = failed()
        assert manage("queue_forget", job.pk, "--json").value == {"forgotten": [job.pk], "refused": []}
        said = manage("queue_forget", job.pk, "--json")
        assert (said.code, said.value["refused"][0]["reason"]) == (1, "There is no such job.")


@pytest.mark.django_db
class TestFlush:
    def test_without_a_terminal_it_wants_force(self) -> None:
        failed()
        said = manage("queue_flush")
        assert (said.code, said.out) == (1, "")
        assert "--force deletes 1 failed job" in said.err
        said = manage("queue_flush", "--force", "--json")
        assert (said.code, said.value) == (0, {"deleted": 1})
        assert not Job.objects.exists()
        assert AuditEntry.objects.get().detail["deleted"] == 1

    def test_hours_spare_what_failed_lately(self) -> None:
        failed(ago=25 * HOUR)
        kept = failed(ago=23 * HOUR)
        assert manage("queue_flush", "--hours", "24", "--force").out == "1 failed job deleted.\n"
        assert list(Job.objects.all()) == [kept]
        assert manage("queue_flush", "--hours", "-1", "--force").code == 1

    def test_it_asks_at_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failed()
        at_terminal(monkeypatch, "\n")
        assert manage("queue_flush").code == 1
        at_terminal(monkeypatch, "y\n")
        assert manage("queue_flush").code == 0
        assert manage("queue_flush").out == "There is no failed job to delete.\n"


class TestClear:
    def test_it_refuses_without_force_and_says_how_many(self, work: Work, path: str) -> None:
        jobs.write_line.enqueue(path=path, text="x")
        said = manage("queue_clear", "default")
        assert (said.code, said.out) == (1, "")
        assert "--force cancels 1 job that" in said.err
        assert work() == ["succeeded"]

    def test_with_force_nothing_of_it_runs(self, work: Work, path: str) -> None:
        for n in range(3):
            jobs.write_line.enqueue(path=path, text=str(n))
        said = manage("queue_clear", "default", "--force")
        assert (said.code, said.out) == (0, "3 jobs of default cancelled.\n")
        assert work() == []
        assert manage("queue_clear", "default", "--force").out == "No job waits in default.\n"
        assert manage("queue_clear", "default", "--force", "--json").value == {"queue": "default", "cancelled": 0}
        assert AuditEntry.objects.last().target == "queue:default"  # type: ignore[union-attr]

    def test_an_unknown_queue_is_refused(self, valkey: Valkey, transactional_db: None) -> None:
        said = manage("queue_clear", "slow", "--force")
        assert said.code == 1
        assert "no queue 'slow'" in said.err
