"""The form of a tool. The values of secret headers go in and never come out."""

from typing import Any

from django import forms

from conversations import owned_tools
from conversations.console.forms import OwnedForm
from conversations.models import Tool
from maintenance.console.forms import JSONArea

COLUMNS = ("name", "description", "kind", "parameters", "method", "url", "headers", "timeout_seconds", "is_idempotent")
SECRETS_MAX_CHARACTERS = 16 * 1024
EMPTY_SCHEMA = {"type": "object", "properties": {}, "required": []}


class WriteOnlyArea(forms.Textarea):
    """Never shows what was entered, not even beside an error."""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        return super().get_context(name, "", attrs)


def stored_secrets(tool: Tool) -> str:
    """`2 secret headers are stored: X-Key, X-Other.`"""
    if not tool.encrypted_headers:
        return "No secret header is stored."
    names = owned_tools.secret_names(tool)
    if not names:
        return owned_tools.UNREADABLE
    number = "1 secret header is" if len(names) == 1 else f"{len(names)} secret headers are"
    return f"{number} stored: {', '.join(names)}."


class ToolForm(OwnedForm):
    """`secret_changes` is what `owned_tools.update` takes: by name a value, or None to remove it."""

    secret_headers = forms.CharField(
        required=False,
        label="Secret headers",
        max_length=SECRETS_MAX_CHARACTERS,
        widget=WriteOnlyArea(attrs={"rows": 3, "class": "code-field", "spellcheck": "false", "autocomplete": "off"}),
    )
    remove_headers = forms.MultipleChoiceField(
        required=False, label="Remove of them", widget=forms.CheckboxSelectMultiple
    )
    secret_changes: dict[str, str | None] = {}

    class Meta:
        model = Tool
        fields = COLUMNS
        widgets = {
            "description": forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
            "parameters": JSONArea({"rows": 8}),
            "headers": JSONArea({"rows": 3}),
            "url": forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        }
        labels = {"url": "URL", "is_idempotent": "May be called twice"}
        help_texts = {
            "description": "What the model reads to know when to call it.",
            "kind": "user: a request that this server makes. client: a schema that clients answer, without a URL.",
            "parameters": "A JSON Schema with the type object.",
            "url": "{name} stands for an argument. What the URL does not name goes into the query or the JSON body.",
            "headers": 'An object, such as {"Accept": "application/json"}. Everyone who may see the tool sees it.',
            "is_idempotent": "A call of which nobody knows whether it was carried out is then made again.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "secret_headers" not in self.fields:
            return  # somebody who may only look
        if not self.instance.pk:
            self.fields["parameters"].initial = EMPTY_SCHEMA
        stored = owned_tools.secret_names(self.instance)
        self.fields["secret_headers"].help_text = f"{stored_secrets(self.instance)} One a line to set: X-Key: value"
        if stored:
            self.fields["remove_headers"].choices = [(name, name) for name in stored]  # type: ignore[attr-defined]
        else:
            del self.fields["remove_headers"]

    def clean_secret_headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for number, line in enumerate(self.cleaned_data["secret_headers"].splitlines(), 1):
            name, colon, value = line.partition(":")
            if not line.strip():
                continue
            if not (colon and name.strip() and value.strip()):
                raise forms.ValidationError(f"Line {number} is not of the form X-Key: value.")
            found[name.strip()] = value.strip()
        return found

    def clean(self) -> dict[str, Any]:
        self.demand("parameters", dict, "an object")
        self.demand("headers", dict, "an object")
        name = self.cleaned_data.get("name")
        others = Tool.objects.filter(user=self.owner, name=name).exclude(pk=self.instance.pk)
        if name and others.exists():
            self.add_error("name", f"{self.owner.get_username()} has a tool with this name.")
        removed = dict.fromkeys(self.cleaned_data.get("remove_headers", ()))
        self.secret_changes = {**removed, **self.cleaned_data.get("secret_headers", {})}
        if not self.errors:
            self.ask(self._check)
        return self.cleaned_data

    def _check(self) -> None:
        columns = {name: self.cleaned_data[name] for name in COLUMNS}
        stored = self.instance.encrypted_headers
        entered = Tool(**columns, user=self.owner, pk=self.instance.pk, encrypted_headers=stored)
        owned_tools.apply(entered, {"secret_headers": self.secret_changes})
