"""What the generated OpenAPI document cannot know: errors look alike everywhere, and streams are served elsewhere."""

from typing import Any

ERROR = {
    "type": "object",
    "required": ["message", "code"],
    "properties": {
        "message": {"type": "string"},
        "code": {"type": "string", "description": "for programs: what exactly was refused"},
        "errors": {
            "type": "object",
            "description": "per field, what is wrong with it",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
}
DEFAULT_ANSWER = {
    "description": "What went wrong. 429 comes with `Retry-After`.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
ANSWER = {
    "200": {"description": "events", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
}
SIGNED_IN: list[dict[str, list[str]]] = [{"session": []}, {"token": []}]
CURSOR = [
    {"in": "query", "name": "after", "schema": {"type": "string"}},
    {"in": "header", "name": "Last-Event-ID", "schema": {"type": "string"}},
]
STREAM = {
    "operationId": "conversations_stream",
    "description": (
        "The conversation's events as they happen (server-sent events). The id of the last event seen, as the header "
        "`Last-Event-ID` or as `after`, continues from there. See docs/api.md for the events."
    ),
    "parameters": [
        {"in": "path", "name": "id", "required": True, "schema": {"type": "integer"}},
        {"in": "query", "name": "follow", "schema": {"type": "string", "enum": ["1"]}},
        *CURSOR,
    ],
    "tags": ["conversations"],
    "security": SIGNED_IN,
    "responses": ANSWER,
}
PULL_STREAM = {
    "operationId": "ai_backends_models_pull_stream",
    "description": (
        "How far a pull is, as it goes on (server-sent events): `connected`, `started`, `progress`, and at last "
        "`completed`, `failed` or `cancelled`. The cursor is used as with a conversation's stream."
    ),
    "parameters": [
        {"in": "path", "name": "backend", "required": True, "schema": {"type": "string"}},
        {"in": "path", "name": "pull_id", "required": True, "schema": {"type": "string"}},
        *CURSOR,
    ],
    "tags": ["ai-backends"],
    "security": SIGNED_IN,
    "responses": ANSWER,
}


def complete(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the shape of errors to every operation, and the streams."""
    result["components"]["schemas"]["Error"] = ERROR
    result["paths"]["/api/v1/conversations/{id}/stream"] = {"get": STREAM}
    result["paths"]["/api/v1/ai-backends/{backend}/models/pull/{pull_id}/stream"] = {"get": PULL_STREAM}
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"] = {**operation["responses"], "default": DEFAULT_ANSWER}
    return result
