"""Forms whose rules are those of the domain: each error names the field that it is about."""

from typing import Any

from django import forms
from django.contrib.auth.models import User

from conversations import prompts
from conversations.console.tool_fields import ApprovalsField, system_tool_choices
from conversations.models import Agent, AgentPrompt, SystemPrompt, Tool
from maintenance.console.forms import DomainForm, JSONArea
from models_registry import catalog, config


class OwnedForm(DomainForm):
    """`owner` is whose the object is or will be; the admin sets it on a subclass per request."""

    owner: User


class AgentForm(OwnedForm):
    every_system_tool = forms.BooleanField(
        required=False, label="All system tools", help_text="Also those that come with newer versions of the server."
    )
    system_tools = forms.MultipleChoiceField(required=False, label="Or only these", widget=forms.CheckboxSelectMultiple)
    approvals = ApprovalsField(
        required=False, help_text="When a call waits until somebody approves it. A client may bring tools of its own."
    )

    class Meta:
        model = Agent
        fields = (
            "name", "slug", "description", "status", "ai_backend", "model_config", "context_variables", "max_turns",
            "on_busy", "tool_mode", "tools", "system_tools", "approvals",
        )  # fmt: skip
        widgets = {
            "description": forms.Textarea(attrs={"rows": 2, "class": "vLargeTextField"}),
            "model_config": JSONArea(),
            "context_variables": JSONArea(),
            "tools": forms.CheckboxSelectMultiple,
        }
        labels = {"tools": "Tools of its owner"}
        help_texts = {
            "tool_mode": "JSON schema: for models that never learned to call tools.",
            "model_config": 'An object, such as {"model": "gpt-4o-mini", "temperature": 0.7}.',
            "context_variables": "An object; its values are there for every prompt of the agent.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [("", f"the default ({catalog.default_name() or 'none configured'})")]
        choices += [(name, name) for name in catalog.configured()]
        if (kept := self.instance.ai_backend) and kept not in dict(choices):
            choices.append((kept, f"{kept} (not configured)"))
        self.fields["ai_backend"] = forms.ChoiceField(choices=choices, required=False, label="AI backend")
        if "tools" in self.fields:  # not for somebody who may only look
            self._offer_tools()

    def _offer_tools(self) -> None:
        own = Tool.objects.filter(user=self.owner)
        names = system_tool_choices(self.instance)
        self.fields["tools"].queryset = own  # type: ignore[attr-defined]
        self.fields["system_tools"].choices = names  # type: ignore[attr-defined]
        self.fields["approvals"].widget.names = [*own.values_list("name", flat=True), *dict(names)]
        self.initial["every_system_tool"] = self.instance.system_tools is None
        self.initial["system_tools"] = self.instance.system_tools or []

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("every_system_tool"):
            self.cleaned_data["system_tools"] = None
        self.demand("context_variables", dict, "an object")
        self.demand("model_config", dict, "an object")
        self.ask(lambda: catalog.check_name(self.cleaned_data.get("ai_backend", "")))
        if "model_config" in self.cleaned_data:
            self.ask(lambda: config.validate(self.cleaned_data["model_config"]))
        return self.cleaned_data


class SystemPromptForm(OwnedForm):
    class Meta:
        model = SystemPrompt
        fields = ("name", "slug", "template", "required_variables", "default_values", "is_active", "is_shared")
        widgets = {
            "template": forms.Textarea(attrs={"rows": 14, "class": "code-field", "spellcheck": "false"}),
            "required_variables": JSONArea({"rows": 2}),
            "default_values": JSONArea({"rows": 4}),
        }
        help_texts = {
            "template": "Jinja2, as in: You are {{ agent_name }}, talking with {{ user_name }}.",
            "required_variables": 'A list of names, such as ["project"].',
            "default_values": 'An object, such as {"project": "Apollo"}.',
        }

    def clean(self) -> dict[str, Any]:
        self.demand("required_variables", list, "a list of names")
        self.demand("default_values", dict, "an object")
        names = self.cleaned_data.get("required_variables", [])
        if not all(isinstance(name, str) and name.isidentifier() for name in names):
            self.add_error("required_variables", "Each must be a name of a variable.")
        if template := self.cleaned_data.get("template"):
            self.ask(lambda: prompts.check(template))
        self._check_slug(self.cleaned_data.get("slug"))
        return self.cleaned_data

    def _check_slug(self, slug: str | None) -> None:
        others = SystemPrompt.objects.filter(user=self.owner, slug=slug).exclude(pk=self.instance.pk)
        if slug and others.exists():
            self.add_error("slug", f"{self.owner.get_username()} has a prompt with this slug.")


class AgentPromptForm(OwnedForm):
    class Meta:
        model = AgentPrompt
        fields = ("order", "system_prompt", "variable_overrides")
        widgets = {"variable_overrides": JSONArea({"rows": 2})}

    def clean(self) -> dict[str, Any]:
        self.demand("variable_overrides", dict, "an object")
        return self.cleaned_data
