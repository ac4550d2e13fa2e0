"""What the driver `openai` learns about a server's models."""

from collections.abc import Iterator

import pytest

from models_registry import errors
from models_registry.backends.base import ModelDetails
from models_registry.backends.openai import OpenAIBackend
from models_registry.backends.openai_models import details
from models_registry.fakes.http import head
from models_registry.fakes.openai import OpenAIServer

LLAMA_CPP = {"id": "smollm2", "meta": {"n_vocab": 49152, "n_ctx_train": 8192, "size": 99000000}}
VLLM = {"id": "meta/llama", "max_model_len": 32768}


@pytest.fixture
def other(server: OpenAIServer) -> Iterator[OpenAIServer]:
    """The server, whose list of models may be changed."""
    usual = server.models_script
    yield server
    server.models_script = usual


def test_every_model_of_the_list_is_told(backend: OpenAIBackend) -> None:
    assert ModelDetails(name="stub-paced") in backend.models()


def test_the_window_is_told_where_the_server_tells_it() -> None:
    assert details({"data": [LLAMA_CPP, VLLM]}) == [
        ModelDetails(name="smollm2", size_bytes=99000000, context_length=8192),
        ModelDetails(name="meta/llama", context_length=32768),
    ]


@pytest.mark.parametrize("meta", [None, [], {"n_ctx_train": "many", "size": None}, {"n_ctx_train": True, "size": -1}])
def test_what_cannot_be_read_is_not_told(meta: object) -> None:
    assert details({"data": [{"id": "a", "meta": meta}, {"object": "model"}, "b"]}) == [ModelDetails(name="a")]


def test_a_list_that_is_none_is_an_error(other: OpenAIServer, backend: OpenAIBackend) -> None:
    other.models_script = lambda: [head(200, {"content-type": "application/json", "content-length": "0"})]
    with pytest.raises(errors.BackendError):
        backend.models()
