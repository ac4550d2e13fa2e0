"""Whether a model that an agent means is there, and can do what the agent wants of it, as far as the registry knows."""

from models_registry import records
from models_registry.catalog import NATIVE, Resolved
from models_registry.config import ConfigWarning
from models_registry.models import Driver


def warnings(resolved: Resolved) -> list[ConfigWarning]:
    """`[{field, message}]`, none where nothing speaks against it or nothing is known. At most two queries."""
    backend, model = resolved.name, resolved.config.model
    if resolved.backend.driver == Driver.FAKE:
        return []  # it has no server that could lack something
    row = records.known(backend, model)
    if row is None:
        missed = f"{backend} does not list the model {model}."
        return [_warning("model_config", missed)] if records.is_synced(backend) else []
    if resolved.tool_mode == NATIVE and row.capabilities is not None and records.TOOLS not in row.capabilities:
        return [_warning("tool_mode", f"{model} cannot call tools by itself: choose json_schema to use tools with it.")]
    return []


def _warning(field: str, message: str) -> ConfigWarning:
    return {"field": field, "message": message}
