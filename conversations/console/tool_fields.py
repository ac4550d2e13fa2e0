"""Fields of an agent's form: which of the server's tools it may use, and which tools want an approval."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from conversations import agents, system_tools
from conversations.models import Agent

NAME_MAX = 128
TERMS = {"never": "never", "always": "each time", "once": "once in a conversation"}


class ApprovalsTable(forms.Widget):
    """A line for each tool with the choice of `TERMS`, and one for a tool that only clients know.

    `names` are the tools to show; those that have a term already are shown in any case.
    """

    names: Sequence[str] = ()

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        terms = value if isinstance(value, Mapping) else {}
        rows = [(one, terms.get(one, "never")) for one in dict.fromkeys((*self.names, *terms))]
        return render_to_string("console/approvals.html", {"field": name, "rows": rows, "terms": TERMS.items()})

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> dict[str, str]:
        beginning = f"{name}-of-"
        terms = {key.removeprefix(beginning): data[key] for key in data if key.startswith(beginning)}
        if other := data.get(f"{name}-other", "").strip():
            terms[other] = data.get(f"{name}-other-term", "")
        return {tool: term for tool, term in terms.items() if term != "never"}

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return False

    def id_for_label(self, id_: str) -> str:
        return ""


class ApprovalsField(forms.Field):
    widget = ApprovalsTable

    def clean(self, value: Any) -> dict[str, str]:
        for name, term in value.items():
            if term not in agents.APPROVALS:
                raise forms.ValidationError(f"{name}: choose one of {', '.join(TERMS.values())}.")
            if len(name) > NAME_MAX:
                raise forms.ValidationError(f"The name of a tool has at most {NAME_MAX} characters.")
        return dict(value)


def system_tool_choices(agent: Agent) -> list[tuple[str, str]]:
    """Every tool of the server, and what the agent names besides."""
    here = {tool.name for tool in system_tools.configured()}
    names = [*sorted(system_tools.names()), *(agent.system_tools or ())]
    return [(name, name if name in here else f"{name} (not configured here)") for name in dict.fromkeys(names)]
