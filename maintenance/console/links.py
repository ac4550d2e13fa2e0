"""Where the things that a job is tagged with are shown.

A tag is `kind:id`, as in `conversation:7`. The app that owns a kind adds the name of its page, so that the ledger
links upwards without knowing what is there.
"""

from dataclasses import dataclass

from django.urls import reverse

# By kind, the name of a page that takes the id.
PAGES: dict[str, str] = {}


@dataclass(frozen=True)
class TagLink:
    """A tag, and its page where it has one."""

    tag: str
    url: str


def of_tag(tag: str) -> TagLink:
    kind, _, key = tag.partition(":")
    known = kind in PAGES and bool(key)
    return TagLink(tag, reverse(PAGES[kind], args=[key]) if known else "")
