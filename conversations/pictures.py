"""Pictures that come with a message, checked: what they are is told by their bytes, whatever else was said of them."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.conf import settings

from conversations import picture_types
from maintenance.errors import Invalid

NOT_BASE64 = "This is no standard base64, nor a data URL of it."
NO_PICTURE = "This is no picture: PNG, JPEG, GIF and WebP are taken."
BROKEN = "The head of this picture is broken: it does not say how large it is."
_HEAD = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


@dataclass(frozen=True)
class Picture:
    """A picture that may be kept: its real MIME type and its bytes."""

    media_type: str
    data: bytes = field(repr=False)


def take(raw: Sequence[str]) -> list[Picture]:
    """Pictures from base64, which may have line breaks in it, or from data URLs. What a URL calls its type is ignored.

    Raises Invalid: 413 for too many or too large ones, 422 for what is none; it names `images`, and which of them.
    """
    require_room([_size(text) for text in raw])
    return [_checked(_decoded(text, place), place) for place, text in enumerate(raw)]


def require_room(sizes: Sequence[int]) -> None:
    """Refuse files of these sizes, in bytes, as `take` would, before they are read."""
    _check_number(len(sizes))
    _check_bytes(sizes)


def check(files: Sequence[bytes]) -> list[Picture]:
    """The same, from the bytes themselves."""
    require_room([len(data) for data in files])
    return [_checked(data, place) for place, data in enumerate(files)]


def _check_number(number: int) -> None:
    if number > settings.IMAGES_MAX:
        raise _too_large("images", f"A message has at most {settings.IMAGES_MAX} images.")


def _encoded(text: str) -> str:
    head = _HEAD.match(text)
    return "".join((text[head.end() :] if head else text).split())


def _size(text: str) -> int:
    encoded = _encoded(text)
    return len(encoded) * 3 // 4 - encoded[-2:].count("=")


def _decoded(text: str, place: int) -> bytes:
    try:
        return base64.b64decode(_encoded(text), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(place, NOT_BASE64) from None


def _checked(data: bytes, place: int) -> Picture:
    kind = picture_types.media_type(data)
    if not kind:
        raise _invalid(place, NO_PICTURE)
    width, height = picture_types.size(data, kind)
    if not width or not height:
        raise _invalid(place, BROKEN)
    if width * height > settings.IMAGE_MAX_PIXELS:
        said = f"This image of {width} × {height} has more than {settings.IMAGE_MAX_PIXELS} pixels."
        raise _too_large(f"images.{place}", said)
    return Picture(kind, data)


def _check_bytes(sizes: Sequence[int]) -> None:
    for place, size in enumerate(sizes):
        if size > settings.IMAGE_MAX_BYTES:
            raise _too_large(f"images.{place}", f"An image has at most {settings.IMAGE_MAX_BYTES} bytes.")
    if sum(sizes) > settings.IMAGES_MAX_BYTES:
        said = (
            f"The images of a message have at most {settings.IMAGES_MAX_BYTES} bytes together; these have {sum(sizes)}."
        )
        raise _too_large("images", said)


def _invalid(place: int, rule: str) -> Invalid:
    return Invalid(f"Image {place + 1} cannot be taken. {rule}", errors={f"images.{place}": [rule]})


def _too_large(name: str, rule: str) -> Invalid:
    return Invalid(rule, code="too_large", status_code=413, errors={name: [rule]})
