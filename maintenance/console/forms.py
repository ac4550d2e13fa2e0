"""Forms whose rules are those of the domain: each error names the field that it is about."""

from collections.abc import Callable
from typing import Any

from django import forms

from maintenance.console.typed_json import StorableJSON
from maintenance.errors import Invalid


class JSONArea(forms.Textarea):
    """A text area for JSON, wide and in a fixed-width font."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"class": "json-field", "rows": 5, "spellcheck": "false", **(attrs or {})})


class DomainForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form that asks the domain whether what was entered is allowed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if isinstance(field, forms.JSONField):
                field.decoder = StorableJSON

    def ask(self, rule: Callable[[], object]) -> None:
        """Run a rule of the domain, and put what it refuses at the fields it names."""
        try:
            rule()
        except Invalid as error:
            for name, texts in (error.errors or {"": [error.message]}).items():
                field, _, part = name.partition(".")
                for text in texts:
                    self.add_error(field if field in self.fields else None, f"{part}: {text}" if part else text)

    def demand(self, name: str, kind: type, what: str) -> None:
        """The JSON of this field must be of this type. An empty one is the empty value of it."""
        value = self.cleaned_data.get(name)
        if value in (None, ""):
            self.cleaned_data[name] = kind()
        elif not isinstance(value, kind):
            self.add_error(name, f"Must be {what}.")
