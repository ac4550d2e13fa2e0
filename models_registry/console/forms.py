"""The form of a backend. What is entered as its key goes in and never comes out."""

from typing import Any, cast

from django import forms
from django.http import QueryDict

from maintenance.console.forms import DomainForm, JSONArea
from models_registry import drivers, registration
from models_registry.models import BackendRecord, Driver

STORED = "A key is stored. Leave this empty to keep it."
NOT_STORED = "No key is stored. Servers of your own often need none."
COLUMNS = ("name", "driver", "base_url", "model", "context_length", "options", "enabled")


class BackendForm(DomainForm):
    """`new_key` is what `registration.save` takes: None keeps the stored one, "" removes it."""

    key = forms.CharField(
        required=False,
        max_length=registration.KEY_MAX_CHARACTERS,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
    )
    remove_key = forms.BooleanField(required=False, label="Remove the stored key")
    new_key: str | None = None

    class Meta:
        model = BackendRecord
        fields = COLUMNS
        widgets = {
            "options": JSONArea({"rows": 3}),
            "base_url": forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        }
        labels = {"base_url": "Base URL", "model": "Default model", "context_length": "Window"}
        help_texts = {
            "model": "For agents that name none.",
            "name": "What agents call it. It cannot be changed later.",
            "base_url": "As in http://127.0.0.1:8080/v1, without a login. Empty: the provider's own address.",
            "context_length": "Tokens that no agent can widen. 0: what the server or the model says.",
            "options": 'An object, such as {"temperature": 0.2}: values that hold where an agent gives none.',
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "key" not in self.fields:
            return  # somebody who may only look
        self.fields["key"].help_text = STORED if self.instance.encrypted_key else NOT_STORED
        if not self.instance.encrypted_key:
            del self.fields["remove_key"]
        offered = [(value, label) for value, label in Driver.choices if value in drivers.DRIVERS]
        self.fields["driver"] = forms.ChoiceField(choices=[("", "---------"), *offered])

    def full_clean(self) -> None:
        """An address that was refused may hold a login, so it is not shown again."""
        super().full_clean()
        if self.is_bound and "base_url" in self.errors:
            shown = cast(QueryDict, self.data).copy()
            shown["base_url"] = ""
            self.data = shown

    def clean_base_url(self) -> str:
        base_url: str = self.cleaned_data["base_url"].strip()
        self.ask(lambda: registration.check_base_url(base_url))
        return base_url

    def clean(self) -> dict[str, Any]:
        self.demand("options", dict, "an object")
        self.new_key = self.cleaned_data.get("key") or ("" if self.cleaned_data.get("remove_key") else None)
        if not self.errors:
            columns = {name: self.cleaned_data[name] for name in COLUMNS if name in self.cleaned_data}
            entered = BackendRecord(
                **{"name": self.instance.name, **columns},
                pk=self.instance.pk,
                encrypted_key=self.instance.encrypted_key,
            )
            self.ask(lambda: registration.check(entered, key=self.new_key))
        return self.cleaned_data
