"""System prompts: templates rendered in a sandbox, with variables from five places, joined into one text.

Variables, later wins: system ← agent ← the prompt's `default_values` ← the agent's `variable_overrides` for that
prompt ← runtime. An error names the prompt, the line and the variable.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils import timezone
from jinja2 import Template, TemplateError, TemplateSyntaxError

from conversations.models import Agent, AgentPrompt, Run, SystemPrompt
from conversations.sandbox import Sandbox
from maintenance.deadline import TimeOver, time_limited
from maintenance.errors import Invalid

_environment = Sandbox()


@dataclass(frozen=True)
class Assembled:
    """The whole system prompt, and per prompt slug the values it was rendered with."""

    text: str
    variables: dict[str, dict[str, Any]]


def system_variables() -> dict[str, Any]:
    """The clock and the application. In the time zone of the server."""
    now = timezone.localtime()
    clock = {"date": f"{now:%Y-%m-%d}", "time": f"{now:%H:%M:%S}", "datetime": f"{now:%Y-%m-%d %H:%M:%S}"}
    return {
        **clock,
        **{f"current_{name}": value for name, value in clock.items()},
        "timezone": str(timezone.get_current_timezone()),
        "app_name": settings.APP_NAME,
    }


def agent_variables(agent: Agent) -> dict[str, Any]:
    return {"agent_name": agent.name, "agent_description": agent.description, **agent.context_variables}


def runtime_variables(run: Run, message_count: int) -> dict[str, Any]:
    user = run.conversation.user
    return {
        "conversation_id": run.conversation_id,
        "user_name": user.get_full_name() or user.get_username(),
        "message_count": message_count,
    }


def assemble(run: Run, message_count: int) -> Assembled:
    """Render the agent's active prompts in order. Raises Invalid where one cannot be rendered."""
    agent = run.conversation.agent
    links = agent.prompt_links.select_related("system_prompt").filter(system_prompt__is_active=True)
    return _assemble(agent, links, runtime_variables(run, message_count))


def _assemble(agent: Agent, links: Iterable[AgentPrompt], runtime: Mapping[str, Any]) -> Assembled:
    common = {**system_variables(), **agent_variables(agent)}
    texts: list[str] = []
    variables: dict[str, dict[str, Any]] = {}
    for link in links:
        prompt = link.system_prompt
        values = {**common, **prompt.default_values, **link.variable_overrides, **runtime}
        texts.append(render(prompt, values))
        variables[prompt.slug] = values
    text = "\n\n".join(texts)
    if len(text) > settings.PROMPT_MAX_CHARACTERS:
        raise Invalid(f"The system prompt is longer than {settings.PROMPT_MAX_CHARACTERS} characters.")
    return Assembled(text, variables)


def preview(prompt: SystemPrompt, agent: Agent | None = None, variables: Mapping[str, Any] | None = None) -> str:
    """What the prompt would say, with stand-ins for what only a run knows. Raises Invalid with the exact error."""
    runtime = {"conversation_id": 0, "user_name": prompt.user.get_username(), "message_count": 1}
    stand_in = {"agent_name": "Agent", "agent_description": ""}
    own = agent_variables(agent) if agent else stand_in
    link = agent.prompt_links.filter(system_prompt=prompt).first() if agent and prompt.pk else None
    overrides = link.variable_overrides if link else {}
    values = {**system_variables(), **own, **prompt.default_values, **overrides, **runtime, **(variables or {})}
    return render(prompt, values)


def check(template: str) -> None:
    """Raises Invalid, on the field `template`, with the line of a syntax error."""
    try:
        _environment.parse(template)
    except TemplateSyntaxError as error:
        raise Invalid(
            "The template has an error.", errors={"template": [f"line {error.lineno}: {error.message}"]}
        ) from None


def render(prompt: SystemPrompt, values: Mapping[str, Any]) -> str:
    """One prompt's text, limited in time and length. Raises Invalid naming the prompt, the line and the variable."""
    missing = [name for name in prompt.required_variables if values.get(name) in (None, "")]
    if missing:
        raise _broken(prompt, f"the required variable {missing[0]} has no value", None)
    try:
        template = _compiled(prompt.template)
        with time_limited(settings.PROMPT_TIMEOUT_SECONDS):
            return _limited(template.generate(dict(values)), prompt)
    except TimeOver:
        raise _broken(prompt, f"rendering took longer than {settings.PROMPT_TIMEOUT_SECONDS} s", None) from None
    except TemplateSyntaxError as error:
        raise _broken(prompt, str(error.message), error.lineno) from None
    except TemplateError as error:
        raise _broken(prompt, str(error), _line_of(error)) from None
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError, MemoryError) as error:
        raise _broken(prompt, f"{type(error).__name__}: {error}", _line_of(error)) from None


@lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    """Compiling a template takes forty times as long as rendering it."""
    return _environment.from_string(text)


def _limited(pieces: Iterable[str], prompt: SystemPrompt) -> str:
    parts, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > settings.PROMPT_MAX_CHARACTERS:
            raise _broken(prompt, f"the text is longer than {settings.PROMPT_MAX_CHARACTERS} characters", None)
        parts.append(piece)
    return "".join(parts)


def _line_of(error: BaseException) -> int | None:
    trace, line = error.__traceback__, None
    while trace:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _broken(prompt: SystemPrompt, what: str, line: int | None) -> Invalid:
    where = f", line {line}" if line else ""
    text = f"The prompt “{prompt.name}”{where}: {what}."
    return Invalid(text, code="prompt_error", errors={"template": [text]})
