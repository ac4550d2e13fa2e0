"""Where pictures are kept: in MEDIA_ROOT, below `images/`, a folder for each conversation.

A row of `Message.images` is `{id, media_type, size_bytes, path}`; `path` is relative to MEDIA_ROOT. Files are written
before their row is committed. What has no row, or none any more, `clean_temporary_files` removes a day later: it asks
`in_use` which files are needed.
"""

import base64
import logging
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from conversations.models import Message
from conversations.picture_types import EXTENSIONS
from conversations.pictures import Picture
from maintenance.errors import Refusal
from models_registry.backends.base import Image

logger = logging.getLogger(__name__)

FOLDER = "images"
NAME = re.compile(rf"{FOLDER}/(\d{{1,18}})/[0-9a-f]{{32}}\.({'|'.join(EXTENSIONS.values())})")
Row = Mapping[str, Any]


def keep(pictures: Sequence[Picture], conversation_id: int) -> list[dict[str, Any]]:
    """Write them to files and answer with their rows. Raises Refusal, 503, where the disk does not take them."""
    kept: list[dict[str, Any]] = []
    try:
        for picture in pictures:
            row = _row(conversation_id, picture.media_type, len(picture.data))
            _write(_file(row), picture.data)
            kept.append(row)
    except OSError as error:
        discard(kept)
        logger.error("a picture could not be stored: %s", error)
        raise Refusal("The image could not be stored.", code="not_stored", status_code=503) from error
    return kept


def copied(rows: Sequence[Row], conversation_id: int) -> list[dict[str, Any]]:
    """Rows for another conversation, whose files are others with the same bytes. What is lost stays lost."""
    made = []
    for row in rows:
        own = _row(conversation_id, row["media_type"], row["size_bytes"])
        _link(_file(row), _file(own))
        made.append(own)
    return made


def data_of(row: Row) -> bytes | None:
    """None where the file is lost."""
    try:
        return _file(row).read_bytes()
    except OSError as error:
        logger.warning("the picture %s cannot be read: %s", row["id"], type(error).__name__)
        return None


def image(row: Row) -> Image | None:
    """As a backend takes it. None where the file is lost."""
    data = data_of(row)
    return None if data is None else Image(media_type=row["media_type"], data_base64=base64.b64encode(data).decode())


def discard(rows: Sequence[Row]) -> None:
    """Of rows that never came to be."""
    for row in rows:
        _file(row).unlink(missing_ok=True)


def forget(conversation_ids: Sequence[int]) -> None:
    """Every picture of conversations that are gone. What cannot be removed now, the clean-up tries again."""
    for number in conversation_ids:
        shutil.rmtree(_root() / FOLDER / str(number), ignore_errors=True)


def in_use(names: Sequence[str]) -> set[str]:
    """Those of these names below MEDIA_ROOT that a message needs. One query."""
    numbers = {int(found[1]) for name in names if (found := NAME.fullmatch(name))}
    if not numbers:
        return set()
    rows = Message.objects.filter(conversation__in=numbers).exclude(images=[]).values_list("images", flat=True)
    return {image["path"] for images in rows for image in images} & set(names)


def _row(conversation_id: int, media_type: str, size: int) -> dict[str, Any]:
    name = secrets.token_hex(16)
    path = f"{FOLDER}/{conversation_id}/{name}.{EXTENSIONS[media_type]}"
    return {"id": name, "media_type": media_type, "size_bytes": size, "path": path}


def _root() -> Path:
    return Path(settings.MEDIA_ROOT)


def _file(row: Row) -> Path:
    return _root() / str(row["path"])


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, and readable by this server's own user only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _link(source: Path, target: Path) -> None:
    """One file under two names, which outlives either; a copy where the file system has no such thing."""
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(source, target)
        os.utime(target)  # old as it is, it may not be taken for an orphan before its row is committed
    except OSError as error:
        logger.warning("a picture could not be copied: %s", type(error).__name__)
