"""The tools that a run may call: those of the server, of the agent and of its client, each under a name of its own.

What is offered is decided when the run's snapshot is taken, and stays: to edit an agent changes no run under way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from conversations import system_tools, tool_arguments
from conversations.models import Agent, Conversation, Snapshot, Tool, ToolCall
from maintenance.errors import Invalid
from models_registry.backends.base import ToolSchema
from models_registry.catalog import Resolved

Kind = ToolCall.Kind


@dataclass(frozen=True, kw_only=True)
class Offered:
    """One tool. `approval` is never, always or once; `tool_id` is there for tools that somebody defined."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    kind: str
    approval: str = "never"
    is_idempotent: bool = False
    tool_id: int | None = None

    @property
    def schema(self) -> ToolSchema:
        return ToolSchema(name=self.name, description=self.description, parameters=self.parameters)

    def fault(self, arguments: Mapping[str, Any]) -> str:
        """What is wrong with these arguments, in words for the model; empty where nothing is."""
        return tool_arguments.fault(self.parameters, arguments)


def offered(agent: Agent, conversation: Conversation, resolved: Resolved) -> list[Offered]:
    """What a run on this backend is offered now. Nothing where it cannot call tools: they would only confuse it."""
    if not resolved.backend.capabilities.function_calling:
        return []
    by_schema = resolved.tool_mode == Agent.ToolMode.JSON_SCHEMA and agent.tool_mode == Agent.ToolMode.AUTO
    return of_conversation(agent, conversation, by_schema=by_schema)


def of_conversation(agent: Agent, conversation: Conversation, *, by_schema: bool = False) -> list[Offered]:
    """What a run of this conversation is offered now. Where two have one name, the server's comes first.

    `by_schema`: the model takes tools only where its reply is bound to a schema. Such a model calls what it is offered,
    needed or not; so the server's tools are offered to it only where the agent names them.
    """
    named: dict[str, Offered] = {}
    server = () if by_schema and agent.system_tools is None else _of_server(agent)
    for tool in (*server, *_of_agent(agent), *_of_client(agent, conversation)):
        named.setdefault(tool.name, tool)
    return list(named.values())


def _of_server(agent: Agent) -> Iterator[Offered]:
    for tool in system_tools.configured():
        if agent.system_tools is None or tool.name in agent.system_tools:
            yield Offered(
                name=tool.name,
                description=tool.description,
                parameters=tool.parameters,
                kind=Kind.SYSTEM,
                approval=_approval(agent, tool.name),
                is_idempotent=tool.is_idempotent,
            )


def _of_agent(agent: Agent) -> Iterator[Offered]:
    for tool in agent.tools.all():
        yield Offered(
            name=tool.name,
            description=tool.description,
            parameters=tool.parameters,
            kind=Kind.CLIENT if tool.kind == Tool.Kind.CLIENT else Kind.USER,
            approval=_approval(agent, tool.name),
            is_idempotent=tool.is_idempotent,
            tool_id=tool.pk,
        )


def _of_client(agent: Agent, conversation: Conversation) -> Iterator[Offered]:
    for given in conversation.client_tool_schemas:
        yield Offered(
            name=given["name"],
            description=given.get("description", ""),
            parameters=given.get("parameters") or {"type": "object", "properties": {}},
            kind=Kind.CLIENT,
            approval=_approval(agent, given["name"]),
        )


def require_free(agent: Agent, schemas: Sequence[Mapping[str, Any]]) -> None:
    """Raises Invalid where a tool that a client brings along has the name of another that this agent may be offered."""
    own = set(agent.tools.values_list("name", flat=True))
    errors = {}
    for index, name in enumerate(str(schema["name"]) for schema in schemas):
        if name in system_tools.names():
            errors[f"client_tool_schemas.{index}.name"] = [f"The server has a tool named {name} itself."]
        elif name in own:
            errors[f"client_tool_schemas.{index}.name"] = [f"The agent has a tool named {name} already."]
    if errors:
        raise Invalid("Two tools would have the same name.", errors=errors)


def _approval(agent: Agent, name: str) -> str:
    return str(agent.approvals.get(name, "never"))


def packed(tools: list[Offered]) -> list[dict[str, Any]]:
    """As a snapshot keeps them."""
    return [asdict(tool) for tool in tools]


def of_snapshot(snapshot: Snapshot) -> dict[str, Offered]:
    """By name, in the order in which they were offered."""
    return {given["name"]: Offered(**given) for given in snapshot.tools}
