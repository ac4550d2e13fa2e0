"""What a prompt would say, while its form is still being filled in. Nothing is saved."""

import json
from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest, JsonResponse, QueryDict

from conversations import prompts
from conversations.models import Agent, SystemPrompt
from maintenance.console.operators import operator
from maintenance.console.typed_json import StorableJSON
from maintenance.errors import Invalid

PROMPTS_MAX = 50


class _Unreadable(Exception):
    """A field of the form is not what it should be; the message says which."""


def of_prompt(request: HttpRequest) -> JsonResponse:
    """The prompt of the posted form, for the agent that the form chose to preview with, if any."""
    return _answer(lambda: _of_prompt(request))


def of_agent(request: HttpRequest) -> JsonResponse:
    """All active prompts of the posted form of an agent, in their order."""
    return _answer(lambda: "\n\n".join(_of_agent(request.POST)))


def _answer(render: Any) -> JsonResponse:
    try:
        return JsonResponse({"text": render()})
    except Invalid as error:
        return JsonResponse({"error": error.message})
    except _Unreadable as error:
        return JsonResponse({"error": str(error)})


def _of_prompt(request: HttpRequest) -> str:
    form = request.POST
    agent = Agent.objects.filter(pk=_number(form, "preview_agent")).first()
    prompt = SystemPrompt(
        user=operator(request),
        name=form.get("name", "") or "Prompt",
        template=form.get("template", ""),
        required_variables=_json(form, "required_variables", list),
        default_values=_json(form, "default_values", dict),
    )
    prompts.check(prompt.template)
    own = prompts.agent_variables(agent) if agent else {}
    return prompts.preview(prompt, None, {**own, **prompt.default_values})


def _of_agent(form: QueryDict) -> Iterator[str]:
    agent = Agent(
        name=form.get("name", ""),
        description=form.get("description", ""),
        context_variables=_json(form, "context_variables", dict),
    )
    links = sorted(_links(form), key=lambda link: link[0])
    found = SystemPrompt.objects.select_related("user").in_bulk([pk for _order, pk, _own in links])
    for _order, pk, own in links:
        prompt = found.get(pk)
        if prompt and prompt.is_active:
            yield prompts.preview(prompt, None, {**prompts.agent_variables(agent), **prompt.default_values, **own})


def _links(form: QueryDict) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Order, prompt and overrides of each line of the form that names a prompt and is not to be deleted."""
    for number in range(min(_number(form, "prompt_links-TOTAL_FORMS"), PROMPTS_MAX)):
        line = f"prompt_links-{number}"
        pk = _number(form, f"{line}-system_prompt")
        if pk and not form.get(f"{line}-DELETE"):
            yield _number(form, f"{line}-order"), pk, _json(form, f"{line}-variable_overrides", dict)


def _number(form: QueryDict, name: str) -> int:
    text = form.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 12 else 0


def _json(form: QueryDict, name: str, kind: type) -> Any:
    text = form.get(name, "").strip()
    field = name.rpartition("-")[2].replace("_", " ")
    try:
        value = json.loads(text, cls=StorableJSON) if text else kind()
    except ValueError:
        raise _Unreadable(f"The {field} are not valid JSON.") from None
    if not isinstance(value, kind):
        raise _Unreadable(f"The {field} must be {'a list' if kind is list else 'an object'}.")
    return value
