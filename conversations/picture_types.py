"""What kind of picture some bytes are, by the bytes themselves, and how large it is when it is drawn."""

import struct
from collections.abc import Callable

PNG, JPEG, GIF, WEBP = "image/png", "image/jpeg", "image/gif", "image/webp"
EXTENSIONS = {PNG: "png", JPEG: "jpg", GIF: "gif", WEBP: "webp"}
Size = tuple[int, int]

# Frames of a JPEG that say its size; the others of this range are tables.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers of a JPEG that have no length, so nothing between them can be skipped.
_BARE = frozenset([0x01, *range(0xD0, 0xD8)])
# More steps than any camera needs to come to the frame; without an end megabytes of filling would be walked over.
_STEPS = 1000


def media_type(data: bytes) -> str:
    """PNG, JPEG, GIF or WebP as a MIME type; empty for anything else."""
    return next((name for name, is_one in _STARTS.items() if is_one(data)), "")


def size(data: bytes, kind: str) -> Size:
    """Width and height in pixels, as the picture's own head says. (0, 0) where it does not say."""
    try:
        return _SIZES[kind](data)
    except (struct.error, ValueError):
        return (0, 0)


_STARTS: dict[str, Callable[[bytes], bool]] = {
    PNG: lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"),
    JPEG: lambda data: data.startswith(b"\xff\xd8\xff"),
    GIF: lambda data: data.startswith((b"GIF87a", b"GIF89a")),
    WEBP: lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
}


def _png(data: bytes) -> Size:
    return _pair(">II", data, 16) if data[12:16] == b"IHDR" else (0, 0)


def _gif(data: bytes) -> Size:
    return _pair("<HH", data, 6)


def _jpeg(data: bytes) -> Size:
    """Its size stands in the first frame, after segments of any length."""
    place = 2
    for _ in range(_STEPS):
        filling, marker = data[place : place + 2]
        if filling != 0xFF:
            break
        if marker in _FRAMES:
            height, width = _pair(">HH", data, place + 5)
            return width, height
        place += _skipped(data, place, marker)
    return (0, 0)


def _skipped(data: bytes, place: int, marker: int) -> int:
    if marker == 0xFF:  # a filling byte
        return 1
    if marker in _BARE:
        return 2
    (length,) = struct.unpack_from(">H", data, place + 2)
    return 2 + int(length)


def _webp(data: bytes) -> Size:
    form = data[12:16]
    if form == b"VP8X":
        return _little(data, 24) + 1, _little(data, 27) + 1
    if form == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = _pair("<HH", data, 26) if form == b"VP8 " else (0, 0)
    return width & 0x3FFF, height & 0x3FFF


def _little(data: bytes, place: int) -> int:
    low, high = _pair("<HB", data, place)
    return low | high << 16


def _pair(form: str, data: bytes, place: int) -> Size:
    first, second = struct.unpack_from(form, data, place)
    return int(first), int(second)


_SIZES: dict[str, Callable[[bytes], Size]] = {PNG: _png, JPEG: _jpeg, GIF: _gif, WEBP: _webp}
