"""Keeping agents: one verb to make one, one to change it."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from conversations import library, owned_tools, prompts, slugs, system_tools
from conversations.models import Agent, AgentPrompt
from maintenance.errors import Invalid
from models_registry import catalog, config, suitability
from models_registry.errors import BackendError

RUNTIME_VARIABLES = {"conversation_id", "user_name", "message_count"}
# When a tool is called only with somebody's consent; `once` is once in each conversation.
APPROVALS = ("never", "always", "once")
SLUG_TAKEN = "Another agent has this slug."


def create(user: User, values: Mapping[str, Any]) -> Agent:
    """`values` are columns of Agent, `system_prompt_ids` in their order, and `tool_ids`. Raises Invalid."""
    slug = values.get("slug") or slugs.free(values["name"], Agent.objects.all(), "agent")
    return _save(Agent(user=user, slug=slug), {**values, "slug": slug})


def update(agent: Agent, values: Mapping[str, Any]) -> Agent:
    """Change what `values` names and leave the rest. A run under way keeps its snapshot. Raises Invalid."""
    return _save(agent, values)


def _save(agent: Agent, values: Mapping[str, Any]) -> Agent:
    columns = dict(values)
    prompt_ids, tool_ids = columns.pop("system_prompt_ids", None), columns.pop("tool_ids", None)
    for name, value in columns.items():
        setattr(agent, name, value)
    catalog.check_name(agent.ai_backend)
    config.validate(agent.model_config)
    _check_system_tools(agent.system_tools)
    _check_approvals(agent.approvals)
    try:
        with transaction.atomic():
            agent.save()
            if prompt_ids is not None:
                _use_prompts(agent, prompt_ids)
            if tool_ids is not None:
                agent.tools.set(owned_tools.of_owner(agent.user, tool_ids))
    except IntegrityError:
        raise Invalid(SLUG_TAKEN, errors={"slug": [SLUG_TAKEN]}) from None
    return agent


def _use_prompts(agent: Agent, ids: Sequence[int]) -> None:
    """Exactly these prompts, in this order; those that stay keep their variables."""
    prompts = library.in_order(agent.user, ids)
    agent.prompt_links.exclude(system_prompt__in=prompts).delete()
    for order, prompt in enumerate(prompts):
        AgentPrompt.objects.update_or_create(agent=agent, system_prompt=prompt, defaults={"order": order})


def _check_system_tools(names: Sequence[str] | None) -> None:
    unknown = sorted(set(names or ()) - system_tools.names())
    if unknown:
        known = ", ".join(sorted(system_tools.names()))
        raise Invalid(
            "Some system tools are not known.",
            errors={"system_tools": [f"There is no system tool {name!r}. There are: {known}." for name in unknown]},
        )


def _check_approvals(approvals: Mapping[str, Any]) -> None:
    wrong = sorted(name for name, term in approvals.items() if term not in APPROVALS)
    if wrong:
        rules = [f"{name}: one of {', '.join(APPROVALS)} is required." for name in wrong]
        raise Invalid("Some approvals are not known.", errors={"approvals": rules})


def warnings(agent: Agent) -> list[dict[str, Any]]:
    """What will not be as the agent's owner may think: `[{field, message, given?, used?}]`."""
    try:
        resolved = catalog.resolve(agent.ai_backend, agent.model_config, agent.tool_mode)
        found = [dict(one) for one in (*resolved.warnings, *suitability.warnings(resolved))]
    except BackendError as error:
        found = [{"field": "ai_backend", "message": error.message}]
    except Invalid as error:
        found = [{"field": "model_config", "message": error.message}]
    found += [{"field": "context_variables", "message": text} for text in _missing_variables(agent)]
    return found + _of_tools(agent)


def _of_tools(agent: Agent) -> list[dict[str, Any]]:
    """Tools that are named and not offered. Those of clients are known only when they come, so none is an error."""
    own = {tool.name for tool in agent.tools.all()}
    here = {tool.name for tool in system_tools.configured()}
    chosen = here if agent.system_tools is None else set(agent.system_tools)
    absent = sorted(chosen - here)
    found = [{"field": "system_tools", "message": f"{name} is not configured on this server."} for name in absent]
    found += [
        {"field": "tool_ids", "message": f"The server's own tool {name} is offered in place of yours."}
        for name in sorted(own & here & chosen)
    ]
    return found + [
        {
            "field": "approvals",
            "message": f"The agent has no tool {name} now; it counts where a client brings one along.",
        }
        for name in sorted(set(agent.approvals) - own - (here & chosen))
    ]


def _missing_variables(agent: Agent) -> list[str]:
    common = {**prompts.system_variables(), **prompts.agent_variables(agent)}
    return [
        f"The prompt {link.system_prompt.name} requires {name}, which has no value."
        for link in agent.prompt_links.all()
        for name in link.system_prompt.required_variables
        if name not in RUNTIME_VARIABLES
        and {**common, **link.system_prompt.default_values, **link.variable_overrides}.get(name) in (None, "")
    ]
