"""From what `GET /models` answers to `ModelDetails`. OpenAI itself tells ids only; some servers tell more."""

from collections.abc import Mapping, Sequence
from typing import Any

from models_registry.backends.base import ModelDetails
from models_registry.backends.values import count, mapping, objects


def details(listed: Mapping[str, Any]) -> Sequence[ModelDetails]:
    return [_details(model) for model in objects(listed.get("data")) if model.get("id")]


def _details(model: Mapping[str, Any]) -> ModelDetails:
    meta = mapping(model.get("meta"))  # llama.cpp's
    return ModelDetails(
        name=str(model["id"]),
        size_bytes=count(meta.get("size")),
        context_length=count(meta.get("n_ctx_train")) or count(model.get("max_model_len")),  # the latter is vLLM's
    )
