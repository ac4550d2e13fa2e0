"""System prompts: whose they are, and keeping them. A shared one is read by all, and changed by its owner alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from conversations import prompts, slugs
from conversations.models import SystemPrompt
from maintenance.errors import Invalid, Refusal

SLUG_TAKEN = "You have a prompt with this slug."


def visible_to(user: User) -> QuerySet[SystemPrompt]:
    return SystemPrompt.objects.filter(Q(user=user) | Q(is_shared=True))


def require_owner(prompt: SystemPrompt, user: User) -> None:
    """Raises Refusal for a shared prompt of somebody else."""
    if prompt.user_id != user.pk:
        raise Refusal(
            "This prompt is shared with you; only its owner can change it.", code="read_only", status_code=403
        )


def create(user: User, values: Mapping[str, Any]) -> SystemPrompt:
    """Raises Invalid for a template with an error, or a slug that the user has already."""
    own = SystemPrompt.objects.filter(user=user)
    slug = values.get("slug") or slugs.free(values["name"], own, "prompt")
    return _save(SystemPrompt(user=user, **{**values, "slug": slug}))


def update(prompt: SystemPrompt, values: Mapping[str, Any]) -> SystemPrompt:
    """Raises Invalid for a template with an error, or a slug that another prompt of the user has."""
    for name, value in values.items():
        setattr(prompt, name, value)
    return _save(prompt)


def _save(prompt: SystemPrompt) -> SystemPrompt:
    prompts.check(prompt.template)
    try:
        with transaction.atomic():
            prompt.save()
    except IntegrityError:
        raise Invalid(SLUG_TAKEN, errors={"slug": [SLUG_TAKEN]}) from None
    return prompt


def in_order(user: User, ids: Sequence[int]) -> list[SystemPrompt]:
    """The prompts with these ids. Raises Invalid for one that is not there, not visible, or named twice."""
    found = visible_to(user).in_bulk(ids)
    errors = [f"There is no system prompt {number}." for number in ids if number not in found]
    if len(set(ids)) < len(ids):
        errors.append("A prompt can be used once.")
    if errors:
        raise Invalid("Some system prompts cannot be used.", errors={"system_prompt_ids": errors})
    return [found[number] for number in ids]
