"""The models of an Ollama server: what is told of them, and pulling, deleting, loading and freeing them."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from models_registry import errors
from models_registry.backends import ollama_names
from models_registry.backends.base import Cancellation, ModelConfig, PullProgress
from models_registry.backends.ollama import OllamaBackend
from models_registry.backends.settings import BackendSettings
from models_registry.fakes.http import document
from models_registry.fakes.ollama import CONTEXT_TOKENS, SLOW_LOAD, SLOW_PULL, OllamaServer
from models_registry.fakes.ollama_chat import LINES_HEAD, line, streamed
from models_registry.fakes.ollama_pulls import LARGE, LARGE_BYTES, MANIFEST, SMALL, SMALL_BYTES
from models_registry.fakes.openai import FOR_EVER
from tests.models_registry.conftest import PATIENT, Listener, chat
from tests.services import free_port
from tests.waiting import eventually

PROMPTLY = 5.0  # seconds; a second is promised, what is waited for takes twenty


@pytest.fixture
def server() -> Iterator[OllamaServer]:
    """A server of its own for each test: pulls, loads and deletions change it."""
    with OllamaServer(load_seconds=0.3, pull_seconds=0.5) as server:
        yield server


@pytest.fixture
def backend(server: OllamaServer) -> OllamaBackend:
    return OllamaBackend(BackendSettings(name="ollama", driver="ollama", base_url=server.base_url))


def config(context_length: int | None = None) -> ModelConfig:
    return ModelConfig(model="stub", context_length=context_length)


class Doing(threading.Thread):
    """Something in a thread of its own, for a test that ends it."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.do = do
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.do()
        except BaseException as error:
            self.error = error


class Pulling(Doing):
    """A pull, and what is told of it."""

    def __init__(self, backend: OllamaBackend, model: str) -> None:
        self.cancellation = Cancellation()
        self.told: list[PullProgress] = []
        super().__init__(lambda: backend.pull(model, self.told.append, self.cancellation, PATIENT))

    @property
    def reached(self) -> int:
        return max((told.completed or 0 for told in self.told), default=0)


def pull(backend: OllamaBackend, model: str) -> list[PullProgress]:
    told: list[PullProgress] = []
    backend.pull(model, told.append, Cancellation(), PATIENT)
    return told


def pull_failure(backend: OllamaBackend, model: str) -> tuple[errors.BackendError, list[PullProgress]]:
    told: list[PullProgress] = []
    with pytest.raises(errors.BackendError) as raised:
        backend.pull(model, told.append, Cancellation(), PATIENT)
    return raised.value, told


def installed(backend: OllamaBackend) -> list[str]:
    return [model.name for model in backend.models()]


# Names


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("Llama3.2", "llama3.2:latest"),
        ("llama3.2:latest", "llama3.2:latest"),
        (" llama3.2:1B ", "llama3.2:1b"),
        ("library/llama3.2", "llama3.2:latest"),
        ("registry.ollama.ai/library/llama3.2:1b", "llama3.2:1b"),
        ("https://registry.ollama.ai/library/llama3.2", "llama3.2:latest"),
        ("registry.ollama.ai/Mike/llama3.2", "mike/llama3.2:latest"),
        ("mike/Llama3.2", "mike/llama3.2:latest"),
        ("hf.co/Mike/Llama-GGUF:Q4_K_M", "hf.co/Mike/Llama-GGUF:Q4_K_M"),
        ("localhost:5000/mike/llama", "localhost:5000/mike/llama:latest"),
        ("llama:", "llama:latest"),
    ],
)
def test_f40_a_model_has_one_name_however_it_is_written(backend: OllamaBackend, name: str, canonical: str) -> None:
    assert backend.canonical(name) == canonical
    assert backend.canonical(canonical) == canonical


def test_names_of_other_registries_are_compared_without_regard_to_case() -> None:
    assert ollama_names.same("hf.co/Mike/Llama", "HF.co/mike/llama:latest")
    assert not ollama_names.same("llama:1b", "llama:3b")


# What is told


def test_the_list_tells_every_model(server: OllamaServer, backend: OllamaBackend) -> None:
    server.memory.windows["stub"] = 4096
    model = next(model for model in backend.models() if model.name == "stub:latest")
    assert (model.size_bytes, model.family, model.parameter_size) == (LARGE_BYTES, "llama", "8.0B")
    assert (model.quantisation, len(model.digest)) == ("Q4_K_M", 64)
    assert (model.loaded, model.loaded_context_length) == (True, 4096)
    assert model.modified_at
    assert model.modified_at.utcoffset() == timedelta(hours=1)
    assert [one.path for one in server.received] == ["/api/ps", "/api/tags"]


def test_a_list_that_tells_windows_and_abilities_is_believed(server: OllamaServer, backend: OllamaBackend) -> None:
    told = {"name": "new:1b", "details": {"context_length": 4096}, "capabilities": ["completion", "vision"]}
    server.tags_script = document(200, {"models": [told]})
    (model,) = backend.models()
    assert (model.context_length, model.capabilities) == (4096, ["completion", "vision"])


def test_what_is_shown_of_a_model_tells_its_window_and_abilities(backend: OllamaBackend) -> None:
    model = backend.show("Thinking")
    assert (model.name, model.context_length, model.size_bytes) == ("thinking:latest", CONTEXT_TOKENS, LARGE_BYTES)
    assert model.capabilities == ["completion", "tools", "vision", "thinking"]


def test_an_older_server_that_tells_less_is_understood(server: OllamaServer, backend: OllamaBackend) -> None:
    server.shown["stub"] = {"capabilities": None, "model_info": None}
    model = backend.show("stub")
    assert (model.context_length, model.capabilities) == (0, None)


def test_f43_a_model_that_is_not_there_is_not_found(backend: OllamaBackend) -> None:
    with pytest.raises(errors.ModelNotFound):
        backend.show("nobody-has-this")


@pytest.mark.parametrize("models", [None, [], "none", [{"size": 4}, "b", None]])
def test_a_list_without_models_is_empty(server: OllamaServer, backend: OllamaBackend, models: Any) -> None:
    server.tags_script = document(200, {"models": models})
    assert backend.models() == []


def test_a_healthy_server_tells_its_models(backend: OllamaBackend) -> None:
    health = backend.health()
    assert (health.status, health.error) == ("available", "")
    assert "stub-paced:latest" in health.models


def test_a_dead_server_is_unreachable() -> None:
    nobody = BackendSettings(name="ollama", driver="ollama", base_url=f"http://127.0.0.1:{free_port()}")
    health = OllamaBackend(nobody).health()
    assert (health.status, health.error) == ("unreachable", "ollama could not be reached.")


def test_a_server_of_another_kind_is_misconfigured(server: OllamaServer) -> None:
    other = BackendSettings(name="ollama", driver="ollama", base_url=f"{server.base_url}/v1")
    assert OllamaBackend(other).health().status == "misconfigured"


def test_f43_a_server_that_does_not_answer_is_not_waited_for(server: OllamaServer, backend: OllamaBackend) -> None:
    server.tags_script = [FOR_EVER]
    began = time.monotonic()
    assert backend.health().status == "unreachable"
    assert time.monotonic() - began < 3 * PROMPTLY


# Pulling


def test_a_pull_is_told_line_by_line_and_installs_the_model(server: OllamaServer, backend: OllamaBackend) -> None:
    layer = PullProgress(phase=f"pulling {LARGE}", digest=f"sha256:{LARGE}", total=LARGE_BYTES)
    small = PullProgress(phase=f"pulling {SMALL}", digest=f"sha256:{SMALL}", total=SMALL_BYTES, completed=SMALL_BYTES)
    assert pull(backend, "pull-ok") == [
        PullProgress(phase="pulling manifest"),
        layer,
        replace(layer, completed=9_000_000),
        replace(layer, completed=8_000_000),
        small,
        PullProgress(phase="verifying sha256 digest"),
        PullProgress(phase="writing manifest"),
        PullProgress(phase="success"),
    ]
    assert server.received[0].body == {"model": "pull-ok", "stream": True}
    assert "pull-ok:latest" in installed(backend)


@pytest.mark.parametrize(
    ("model", "kind", "message", "lines"),
    [
        ("pull-unknown", errors.ModelNotFound, "There is no model 'pull-unknown' that ollama could pull.", 1),
        ("nobody-has-this", errors.ModelNotFound, "There is no model 'nobody-has-this' that ollama could pull.", 1),
        ("pull-disk-full", errors.DiskFull, "The disk of ollama is full.", 3),
        ("pull-no-network", errors.BackendError, "ollama could not reach what it needs on the network.", 1),
        ("pull-invalid", errors.BadRequest, "'pull-invalid' is no name of a model.", 0),
        ("pull-error", errors.BackendError, "ollama reported an error.", 3),
        ("pull-eof", errors.StreamEnded, "ollama ended the pull of 'pull-eof' before it was done.", 3),
        ("pull-cut", errors.StreamEnded, "ollama ended the pull of 'pull-cut' before it was done.", 3),
    ],
)
def test_f40_only_a_pull_that_says_so_has_succeeded(
    backend: OllamaBackend, model: str, kind: type[errors.BackendError], message: str, lines: int
) -> None:
    error, told = pull_failure(backend, model)
    assert (type(error), error.message, len(told)) == (kind, message, lines)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("pull model manifest: 401: {}", errors.Unauthorized),
        ("pull model manifest: 404: {}", errors.ModelNotFound),
        ("digest mismatch, file must be downloaded again", errors.BackendError),
    ],
)
def test_what_a_registry_says_has_its_kind(
    server: OllamaServer, backend: OllamaBackend, words: str, kind: type[errors.BackendError]
) -> None:
    server.pull_scripts["bad"] = streamed(MANIFEST, line(error=words))
    assert type(pull_failure(backend, "bad")[0]) is kind


@pytest.mark.parametrize("model", ["pull-stall", "pull-wavering", "pull-silent"])
def test_f40_a_pull_that_does_not_grow_has_stalled(backend: OllamaBackend, settings: Any, model: str) -> None:
    settings.MODEL_PULL_STALL_SECONDS = 0.3
    error, _ = pull_failure(backend, model)
    assert (type(error), error.code, error.permanent) == (errors.PullStalled, "pull_stalled", False)
    assert error.message == f"The pull of {model!r} from ollama has not moved for 0.3 s."


@pytest.mark.parametrize("model", ["pull-slow", "pull-verifying"])
def test_a_pull_that_grows_or_verifies_has_not_stalled(backend: OllamaBackend, settings: Any, model: str) -> None:
    settings.MODEL_PULL_STALL_SECONDS = 0.3  # which both take longer than
    assert pull(backend, model)[-1].phase == "success"


def test_a_pull_that_takes_longer_than_it_may_is_a_timeout_of_its_own_kind(backend: OllamaBackend) -> None:
    with pytest.raises(errors.BackendTimeout) as raised:
        backend.pull("pull-stall", lambda told: None, Cancellation(), replace(PATIENT, total=0.3))
    assert type(raised.value) is errors.BackendTimeout


def test_a_server_that_says_nothing_after_success_is_not_waited_for(
    server: OllamaServer, backend: OllamaBackend
) -> None:
    server.pull_scripts["open"] = [LINES_HEAD + b"14\r\n" + b'{"status":"success"}' + b"\r\n1\r\n\n\r\n", FOR_EVER]
    assert [told.phase for told in pull(backend, "open")] == ["success"]


def test_f40_a_cancelled_pull_hangs_up_and_the_next_one_goes_on_from_there(
    server: OllamaServer, backend: OllamaBackend
) -> None:
    server.pull_seconds = 20.0
    first = Pulling(backend, SLOW_PULL)
    eventually(lambda: first.reached)
    first.cancellation.cancel()
    first.join(PROMPTLY)
    assert type(first.error) is errors.Cancelled
    eventually(lambda: server.received[0].hung_up_at)
    download = server.downloads[SLOW_PULL]
    eventually(lambda: not download.waiters)
    assert download.fetched < 0.5
    second = Pulling(backend, SLOW_PULL)
    eventually(lambda: second.reached)
    assert next(told.completed for told in second.told if told.completed) >= first.reached
    download.seconds = 0.1
    second.join(PROMPTLY)
    assert (second.error, SLOW_PULL + ":latest" in installed(backend)) == (None, True)


def test_f40_two_pulls_of_one_model_share_a_download_which_outlives_either(
    server: OllamaServer, backend: OllamaBackend
) -> None:
    one, other = Pulling(backend, SLOW_PULL + ":2s"), Pulling(backend, SLOW_PULL.upper() + ":2s")
    eventually(lambda: sum(download.waiters for download in server.downloads.values()) == 2)
    one.cancellation.cancel()
    one.join(PROMPTLY)
    other.join(2 * PROMPTLY)
    assert (type(one.error), other.error, other.told[-1].phase) == (errors.Cancelled, None, "success")
    assert len(server.downloads) == 1


def test_an_error_of_the_listener_ends_the_pull_and_hangs_up(server: OllamaServer, backend: OllamaBackend) -> None:
    def listen(told: PullProgress) -> None:
        raise RuntimeError("the lease is gone")

    with pytest.raises(RuntimeError):
        backend.pull(SLOW_PULL, listen, Cancellation(), PATIENT)
    assert eventually(lambda: server.received[0].hung_up_at)


def test_a_cancel_before_the_pull_sends_nothing(server: OllamaServer, backend: OllamaBackend) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(errors.Cancelled):
        backend.pull("pull-ok", lambda told: None, cancellation, PATIENT)
    assert not server.received


# Deleting


def test_a_model_is_deleted(server: OllamaServer, backend: OllamaBackend) -> None:
    pull(backend, "pull-ok")
    backend.delete("pull-ok")
    assert "pull-ok:latest" not in installed(backend)
    asked = next(one for one in server.received if one.method == "DELETE")
    assert asked.body == {"model": "pull-ok"}


def test_deleting_a_model_that_is_not_there_says_so(backend: OllamaBackend) -> None:
    with pytest.raises(errors.ModelNotFound):
        backend.delete("nobody-has-this")


# Memory


def load(backend: OllamaBackend, model: str, wanted: ModelConfig) -> None:
    backend.load(model, wanted, Cancellation(), PATIENT)


def test_a_model_is_loaded_with_the_window_that_calls_ask_for(server: OllamaServer, backend: OllamaBackend) -> None:
    assert not backend.is_loaded(SLOW_LOAD, config(4096))
    load(backend, SLOW_LOAD, config(4096))
    assert backend.is_loaded(SLOW_LOAD, config(4096))
    assert server.memory.windows[SLOW_LOAD] == 4096
    body = next(one.body for one in server.received if one.path == "/api/chat")
    assert body == {
        "model": SLOW_LOAD, "messages": [], "stream": False, "options": {"num_ctx": 4096}, "keep_alive": "5m",
    }  # fmt: skip


def test_a_model_with_another_window_would_be_loaded_anew(backend: OllamaBackend) -> None:
    load(backend, SLOW_LOAD, config(4096))
    assert not backend.is_loaded(SLOW_LOAD, config(2048))
    assert not backend.is_loaded(SLOW_LOAD, config(6000))


def test_a_model_with_the_largest_window_it_can_have_is_loaded(server: OllamaServer, backend: OllamaBackend) -> None:
    server.memory.windows["stub"] = CONTEXT_TOKENS
    assert backend.is_loaded("stub", config(10 * CONTEXT_TOKENS))


def test_a_server_that_does_not_tell_the_window_is_believed(backend: OllamaBackend) -> None:
    assert backend.is_loaded("STUB", config(2048))


@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "glm-4.6:cloud"])
def test_a_model_that_runs_elsewhere_needs_no_loading(server: OllamaServer, backend: OllamaBackend, model: str) -> None:
    assert backend.is_loaded(model, config())
    assert not server.received


def test_the_call_after_the_load_does_not_load_again(server: OllamaServer, backend: OllamaBackend) -> None:
    wanted = ModelConfig(model=SLOW_LOAD, context_length=2048)
    load(backend, SLOW_LOAD, wanted)
    server.load_seconds = FOR_EVER
    request = chat(SLOW_LOAD, config=wanted, timeouts=replace(PATIENT, first_byte=PROMPTLY))
    assert backend.stream(request, Listener(), Cancellation()).whole


def test_giving_up_early_ends_the_load(server: OllamaServer, backend: OllamaBackend) -> None:
    server.load_seconds = FOR_EVER
    with pytest.raises(errors.BackendTimeout):
        backend.stream(chat(SLOW_LOAD, timeouts=replace(PATIENT, first_byte=0.2)), Listener(), Cancellation())
    assert eventually(lambda: server.memory.aborted == 1)
    assert not backend.is_loaded(SLOW_LOAD, config())


def test_a_load_can_be_cancelled(server: OllamaServer, backend: OllamaBackend) -> None:
    server.load_seconds = FOR_EVER
    cancellation = Cancellation()
    loading = Doing(lambda: backend.load(SLOW_LOAD, config(), cancellation, PATIENT))
    eventually(lambda: server.received)
    cancellation.cancel()
    loading.join(PROMPTLY)
    assert type(loading.error) is errors.Cancelled
    assert eventually(lambda: server.memory.aborted == 1)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (document(500, {"error": "model requires more system memory (44 GiB) than is available"}), errors.BackendError),
        (streamed(line(error="unable to allocate CUDA0 buffer")), errors.BackendError),
        (streamed(line(model="bad")), errors.StreamEnded),
    ],
)
def test_a_load_that_fails_says_so(
    server: OllamaServer, backend: OllamaBackend, script: Any, kind: type[errors.BackendError]
) -> None:
    server.load_script = script
    with pytest.raises(errors.BackendError) as raised:
        load(backend, "stub", config())
    assert type(raised.value) is kind


def test_loading_a_model_that_is_not_there_says_so(backend: OllamaBackend) -> None:
    with pytest.raises(errors.ModelNotFound):
        load(backend, "nobody-has-this", config())


def test_memory_is_freed(server: OllamaServer, backend: OllamaBackend) -> None:
    backend.unload("stub")
    assert not backend.is_loaded("stub", config())
    assert server.received[0].body == {"model": "stub", "messages": [], "stream": False, "keep_alive": 0}
