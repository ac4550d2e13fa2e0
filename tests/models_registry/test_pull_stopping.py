"""A cancelled pull asks its server whether the download stopped."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from maintenance.models import Job
from maintenance.streams.read import span
from models_registry import errors, pulls
from models_registry.backends.base import PullProgress
from models_registry.backends.settings import BackendSettings
from models_registry.fakes.http import CUT
from models_registry.fakes.ollama import OllamaServer
from models_registry.fakes.ollama_chat import refusal
from models_registry.models import Pull
from models_registry.pulling import events, stopping
from models_registry.pulling.progress import Progress
from models_registry.pulling.stopping import Verdict
from tests.models_registry.downloads import MANIFEST, SUCCESS, ScriptedBackend, Step, Warehouse, layer
from tests.models_registry.pull_fixtures import fresh, warehouse
from tests.models_registry.test_pull_job import start, under_way
from tests.waiting import eventually

__all__ = ["warehouse"]
pytestmark = [pytest.mark.django_db(transaction=True)]
Status = Pull.Status


def verified(heard: PullProgress | None, *scripts: list[Step]) -> Verdict:
    """What comes of it where `heard` was the last line before the hang-up, and `scripts` are said to who comes back."""
    warehouse = Warehouse()
    warehouse.scripts = list(scripts)
    progress = Progress()
    if heard:
        progress.take(heard, 0)
    backend: Any = ScriptedBackend(BackendSettings(name="ollama", driver="ollama"), warehouse)
    return stopping.verify(backend, "m", progress)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "GAP_SECONDS", 0.3)
    monkeypatch.setattr(stopping, "HOLD_SECONDS", 0.05)
    monkeypatch.setattr(stopping, "NOISE_SECONDS", 0.1)


class Held:
    """A step without an end: the server says nothing more."""

    def wait(self, seconds: float) -> bool:
        return False


HELD: Any = Held()


def at(completed: int) -> list[Step]:
    return [MANIFEST, layer("a", 1000, completed), HELD]


def test_what_has_not_grown_has_stopped() -> None:
    assert verified(layer("a", 1000, 400), at(400)) is Verdict.STOPPED


def test_what_was_rolled_back_has_stopped() -> None:
    assert verified(layer("a", 1000, 400), at(300)) is Verdict.STOPPED


def test_what_grows_between_all_looks_goes_on() -> None:
    assert verified(layer("a", 1000, 400), at(500), at(600), at(700)) is Verdict.GOES_ON


def test_a_second_hang_up_may_stop_it() -> None:
    assert verified(layer("a", 1000, 400), at(500), at(500)) is Verdict.STOPPED


def test_a_layer_that_began_meanwhile_counts_as_growth() -> None:
    whole = layer("a", 1000, 1000)
    grown: list[list[Step]] = [[whole, layer("b", 900, completed), HELD] for completed in (100, 300, 500)]
    assert verified(layer("a", 1000, 950), *grown) is Verdict.GOES_ON


def test_without_anything_to_compare_with_it_is_asked_twice() -> None:
    assert verified(None, at(500), at(500)) is Verdict.STOPPED
    assert verified(None, at(500), at(600), at(700)) is Verdict.GOES_ON


def test_what_is_whole_by_then_is_there() -> None:
    assert verified(layer("a", 1000, 400), [layer("a", 1000, 1000), SUCCESS]) is Verdict.THERE


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (errors.BackendUnreachable("ollama could not be reached."), Verdict.UNKNOWN),
        (errors.BackendTimeout("ollama said nothing."), Verdict.UNKNOWN),
        (errors.StreamEnded("ollama ended the pull."), Verdict.UNKNOWN),
        (errors.ModelNotFound("There is no such model."), Verdict.STOPPED),
        (errors.DiskFull("The disk of ollama is full."), Verdict.STOPPED),
    ],
)
def test_an_answer_that_tells_nothing_is_no_proof(error: errors.BackendError, verdict: Verdict) -> None:
    assert verified(layer("a", 1000, 400), [MANIFEST, error]) is verdict


def test_a_cancelled_pull_says_what_its_server_does(work: Any, warehouse: Warehouse, alice: User) -> None:
    warehouse.scripts = [at(400), at(600), at(800), at(900)]
    pull = start(alice)
    with under_way():
        eventually(lambda: fresh(pull).completed_bytes == 400)
        pulls.cancel(fresh(pull), alice)
        eventually(lambda: fresh(pull).phase == stopping.PHASE)
        assert fresh(pull).status == Status.CANCELLING
        eventually(lambda: fresh(pull).status == Status.CANCELLED)
    row, last = fresh(pull), span(events.key(pull.pk), count=1, newest_first=True)[0]
    assert row.error_code == "still_downloading"
    assert row.error.startswith("ollama still downloads the model")
    assert (last.event, last.data["error_code"]) == ("cancelled", "still_downloading")
    assert Job.objects.get(pk=pull.job_id).status == "cancelled"


def test_a_pull_that_is_whole_when_it_is_cancelled_is_completed(work: Any, warehouse: Warehouse, alice: User) -> None:
    warehouse.scripts = [at(400), [layer("a", 1000, 1000), SUCCESS]]
    pull = start(alice)
    with under_way():
        eventually(lambda: fresh(pull).completed_bytes == 400)
        pulls.cancel(fresh(pull), alice)
        eventually(lambda: fresh(pull).status == Status.COMPLETED)
    assert Job.objects.get(pk=pull.job_id).status == "completed"


@pytest.fixture
def server(settings: Any) -> Iterator[OllamaServer]:
    with OllamaServer() as server:
        settings.OLLAMA_BASE_URL = server.base_url
        yield server


@pytest.mark.parametrize(
    ("model", "error_code"), [("pull-slow:40s", ""), ("pull-stubborn:40s", "still_downloading"), ("pull-silent", "")]
)
def test_a_server_over_http_is_found_out(
    work: Any, server: OllamaServer, alice: User, monkeypatch: pytest.MonkeyPatch, model: str, error_code: str
) -> None:
    monkeypatch.setattr(stopping, "GAP_SECONDS", 1.0)
    monkeypatch.setattr(stopping, "NOISE_SECONDS", 0.5)
    pull = start(alice, model)
    with under_way():
        eventually(lambda: fresh(pull).completed_bytes > 0)
        pulls.cancel(fresh(pull), alice)
        eventually(lambda: fresh(pull).status == Status.CANCELLED)
    assert fresh(pull).error_code == error_code


@pytest.mark.parametrize("script", [refusal(503, "busy"), [CUT]])
def test_a_server_that_went_away_is_not_said_to_have_stopped(
    work: Any, server: OllamaServer, alice: User, script: Any
) -> None:
    pull = start(alice, "pull-silent")
    with under_way():
        eventually(lambda: fresh(pull).completed_bytes > 0)
        server.pull_scripts["pull-silent"] = script
        pulls.cancel(fresh(pull), alice)
        eventually(lambda: fresh(pull).status == Status.CANCELLED)
    assert fresh(pull).error_code == "stop_not_verified"
