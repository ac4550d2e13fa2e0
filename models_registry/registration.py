"""Adding backends, changing and removing them: the rules, and one verb for each."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction

from maintenance import encryption
from maintenance.errors import Invalid
from models_registry import config, drivers
from models_registry.environment import RESERVED
from models_registry.models import BackendRecord, Model

KEY_MAX_CHARACTERS = 4096
_KEY = re.compile(r"[\x21-\x7e]+")


def save(record: BackendRecord, *, key: str | None = None) -> BackendRecord:
    """Store a backend. `key` replaces the stored one, "" removes it, None keeps it. Raises Invalid."""
    check(record, key=key)
    if key is not None:
        record.encrypted_key = encryption.encrypt(key)
    record.base_url = record.base_url.strip().rstrip("/")
    record.save()
    return record


@transaction.atomic
def remove(record: BackendRecord) -> None:
    """Delete a backend and what is stored of its models. Agents that name it are told so when they run."""
    Model.objects.filter(backend=record.name).delete()
    record.delete()


def check(record: BackendRecord, *, key: str | None = None) -> None:
    """Raises Invalid with every field that breaks a rule."""
    rules: Mapping[str, Callable[[], None]] = {
        "name": lambda: _check_name(record.name),
        "driver": lambda: _check_driver(record.driver),
        "base_url": lambda: check_base_url(record.base_url.strip()),
        "key": lambda: _check_key(record, key),
        "options": lambda: _check_options(record.options),
    }
    errors: dict[str, list[str]] = {}
    for name, rule in rules.items():
        try:
            rule()
        except Invalid as error:
            errors[name] = list(_texts(error))
    if errors:
        raise Invalid(" ".join(texts[0] for texts in errors.values()), errors=errors)


def _texts(error: Invalid) -> Iterator[str]:
    for name, texts in (error.errors or {"": [error.message]}).items():
        part = name.partition(".")[2]
        yield from (f"{part}: {text}" if part else text for text in texts)


def _check_name(name: str) -> None:
    if name.lower() in RESERVED:
        raise Invalid(f"{name} stands for what the environment sets. Choose another name.")


def _check_driver(driver: str) -> None:
    if driver not in drivers.DRIVERS:
        raise Invalid(f"There is no driver {driver!r}. There are: {', '.join(drivers.DRIVERS)}.")


def check_base_url(base_url: str) -> None:
    """Raises Invalid. What is refused is not repeated: it may hold a password."""
    if not base_url:
        return
    parts = _parsed(base_url)
    if parts is None:
        raise _bad_url("It must be an address such as http://127.0.0.1:8080/v1.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise _bad_url("An address holds no login and no key: put the key into its own field.")


def _bad_url(reason: str) -> Invalid:
    return Invalid(reason, errors={"base_url": [reason]})


def _parsed(url: str) -> Any:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isprintable()
        return parts if good and " " not in url else None
    except ValueError:
        return None


def _check_key(record: BackendRecord, key: str | None) -> None:
    if key and (len(key) > KEY_MAX_CHARACTERS or not _KEY.fullmatch(key)):
        raise Invalid("It holds blanks or characters that no key has.")
    if key is None and record.encrypted_key and _leads_elsewhere(record):
        raise Invalid("The stored key was given for another address: enter it again, or remove it.")


def _leads_elsewhere(record: BackendRecord) -> bool:
    """Whether the stored key would be sent where it was not before: whoever may edit a backend may not learn it."""
    before = BackendRecord.objects.filter(pk=record.pk).values_list("driver", "base_url").first()
    return before is not None and (before[0] != record.driver or _origin(before[1]) != _origin(record.base_url))


def _origin(url: str) -> tuple[str, str]:
    parts = _parsed(url.strip())
    return (parts.scheme, parts.netloc.lower()) if parts else ("", "")


def _check_options(options: Any) -> None:
    config.validate(options)
    if "model" in options:
        raise Invalid("model: It has a field of its own.")
