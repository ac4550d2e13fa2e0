"""From what `GET /models` answers to `ModelDetails`. OpenAI itself tells ids only; some servers tell more."""

from collections.abc import Mapping, Sequence
from typing import Any

from models_registry.backends.base import ModelDetails
from models_registry.backends.openai_reply import objects


def details(listed: Mapping[str, Any]) -> Sequence[ModelDetails]:
    return [_details(model) for model in objects(listed.get("data")) if model.get("id")]


def _details(model: Mapping[str, Any]) -> ModelDetails:
    meta = model.get("meta")  # llama.cpp's
    meta = meta if isinstance(meta, dict) else {}
    return ModelDetails(
        name=str(model["id"]),
        size_bytes=_count(meta.get("size")),
        context_length=_count(meta.get("n_ctx_train")) or _count(model.get("max_model_len")),  # the latter is vLLM's
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
