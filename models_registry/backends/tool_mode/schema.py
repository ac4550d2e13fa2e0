"""The schema that a reply is held to, in words that the converters of llama.cpp, Ollama and vLLM understand.

They refuse schemas with words that they do not know, or run for minutes on them. So what a tool's schema says is kept
where it is understood and left out elsewhere: the arguments are validated against the real schema before a tool runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models_registry.backends.base import ToolSchema

MAX_PARTS = 2000  # of one tool: references to references multiply
MAX_DEPTH = 30
MAX_REPEATED = 1000  # a grammar writes a limit on a length out
TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
FORMATS = ("date", "time", "date-time", "uuid")
_BOUNDS = ("minimum", "maximum")
Schema = dict[str, Any]


def of_reply(tools: Sequence[ToolSchema], *, answer_allowed: bool) -> Schema:
    """`{"tool": name, "arguments": {…}}` for each of the tools, or `{"answer": text}` where that is allowed."""
    choices = [_call(tool) for tool in tools]
    if answer_allowed:
        choices.append(_closed({"answer": {"type": "string"}}))
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _call(tool: ToolSchema) -> Schema:
    arguments = _Simplifying(tool.parameters).arguments()
    return _closed({"tool": {"const": tool.name}, "arguments": arguments})


def _closed(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _anything() -> Schema:
    return {"type": ["string", "number", "boolean", "object", "array", "null"]}


class _Simplifying:
    """One tool's schema on its way. References are replaced by what they refer to."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._parts = self._depth = 0
        self._open: list[str] = []

    def arguments(self) -> Schema:
        """The schema of an object, whatever the tool's owner forgot to say."""
        made = self.part({**self._root, "type": "object"})
        choices = made.get("anyOf", [made])
        return made if all(choice.get("type") == "object" for choice in choices) else {"type": "object"}

    def part(self, schema: Any) -> Schema:
        self._parts += 1
        if self._parts > MAX_PARTS or self._depth > MAX_DEPTH or not isinstance(schema, Mapping):
            return _anything()
        self._depth += 1
        try:
            return self._part(schema)
        finally:
            self._depth -= 1

    def _part(self, schema: Mapping[str, Any]) -> Schema:
        if "$ref" in schema:
            return self._referred(schema["$ref"])
        for word in ("anyOf", "oneOf"):
            if choices := _mappings(schema.get(word)):
                return self._choice(choices, schema)
        if parts := _mappings(schema.get("allOf")):
            return self.part(_merged([{k: v for k, v in schema.items() if k != "allOf"}, *parts]))
        return self._plain(schema)

    def _referred(self, reference: Any) -> Schema:
        found = _found(self._root, reference)
        if found is None or reference in self._open:
            return _anything()
        self._open.append(reference)
        made = self.part(found)
        self._open.pop()
        return made

    def _choice(self, choices: Sequence[Mapping[str, Any]], around: Mapping[str, Any]) -> Schema:
        if "properties" in around:  # a choice among further rules for the same object
            return self._plain(around)
        return {"anyOf": [self.part(choice) for choice in choices]}

    def _plain(self, schema: Mapping[str, Any]) -> Schema:
        if "const" in schema:
            return {"const": schema["const"]}
        if isinstance(values := schema.get("enum"), Sequence) and values:
            return {"enum": list(values)}
        kinds = _kinds(schema)
        if len(kinds) != 1:
            return {"anyOf": [self._of_kind(kind, schema) for kind in kinds]} if kinds else _anything()
        return self._of_kind(kinds[0], schema)

    def _of_kind(self, kind: str, schema: Mapping[str, Any]) -> Schema:
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            items = {"items": self.part(schema["items"])} if isinstance(schema.get("items"), Mapping) else {}
            return {"type": "array", **items, **(_lengths(schema, "minItems", "maxItems") if items else {})}
        if kind == "string":
            told = {"format": schema["format"]} if schema.get("format") in FORMATS else {}
            return {"type": "string", **(told or _lengths(schema, "minLength", "maxLength"))}
        return {"type": kind, **(_bounds(schema) if kind == "integer" else {})}

    def _object(self, schema: Mapping[str, Any]) -> Schema:
        more = schema.get("additionalProperties")
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            if isinstance(more, Mapping) and more:
                return {"type": "object", "additionalProperties": self.part(more)}
            return {"type": "object"} if more is not False and properties is None else _closed({})
        made = {str(name): self.part(value) for name, value in properties.items()}
        required = [name for name in _strings(schema.get("required")) if name in made]
        return {**_closed(made), "required": required}


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    told = schema.get("type")
    kinds = [told] if isinstance(told, str) else list(_strings(told))
    if not kinds and "properties" in schema:
        return ["object"]
    if not kinds and "items" in schema:
        return ["array"]
    return [kind for kind in kinds if kind in TYPES]


def _lengths(schema: Mapping[str, Any], least: str, most: str) -> Schema:
    return {name: schema[name] for name in (least, most) if _is_whole(schema.get(name), 0, MAX_REPEATED)}


def _bounds(schema: Mapping[str, Any]) -> Schema:
    return {name: schema[name] for name in _BOUNDS if _is_whole(schema.get(name), -(2**53), 2**53)}


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _merged(schemas: Sequence[Mapping[str, Any]]) -> Schema:
    """What `allOf` says, as far as objects go: all their properties."""
    merged: Schema = {}
    for schema in schemas:
        for word, value in schema.items():
            if word == "properties" and isinstance(value, Mapping):
                merged[word] = {**merged.get(word, {}), **value}
            elif word == "required":
                merged[word] = [*merged.get(word, []), *_strings(value)]
            else:
                merged[word] = value
    return merged


def _found(root: Any, reference: Any) -> Any:
    """What `#/$defs/…` refers to; None for anything else."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found = root
    for step in reference.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    return found


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def _strings(value: Any) -> Iterator[str]:
    return (item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else iter(())
