"""Short names for URLs, made from long ones."""

from typing import Any

from django.db.models import QuerySet
from django.utils.text import slugify

LONGEST = 240


def free(name: str, among: QuerySet[Any], fallback: str) -> str:
    """A slug of `name` that no row of `among` has: `parrot`, else `parrot-2`, `parrot-3` …

    `fallback` is used where nothing of the name is left, as with one in Chinese. Two callers at once may get the same
    one: the database refuses the second.
    """
    base = slugify(name)[:LONGEST] or fallback
    taken = set(among.filter(slug__startswith=base).values_list("slug", flat=True))
    slug, number = base, 1
    while slug in taken:
        number += 1
        slug = f"{base}-{number}"
    return slug
