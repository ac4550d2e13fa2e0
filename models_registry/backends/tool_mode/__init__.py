"""Tools for models that were never taught to call any: the reply is held to a JSON Schema, and read.

A reply is `{"tool": NAME, "arguments": {…}}` or `{"answer": TEXT}`. Any server that can hold a reply to a schema makes
a model of any size obey. Then arguments fit their schema; that they make sense is not assured.
"""

from models_registry.backends.tool_mode.backend import SchemaToolBackend

__all__ = ["SchemaToolBackend"]
