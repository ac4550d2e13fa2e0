"""Small pictures, real enough to be told apart and measured."""

import base64
import struct
import zlib


def png(width: int = 2, height: int = 3, *, filling: bytes = b"") -> bytes:
    """`filling` makes it larger in bytes, and another one."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\x00" + b"\xff\x00\x00" * 2)
    parts = [(b"IHDR", head), *([(b"tEXt", b"x\x00" + filling)] if filling else []), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def gif(width: int = 2, height: int = 3) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x00\x00\x00;"


def jpeg(width: int = 2, height: int = 3) -> bytes:
    """With a segment of text, filling bytes and a table before the frame that says its size."""
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 300) + b"\xff\xc0" * 150
    table = b"\xff\xff\xff\xc4" + struct.pack(">H", 4) + b"ab"
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8" + comment + table + frame + b"\xff\xd9"


def webp(form: str, width: int = 2, height: int = 3) -> bytes:
    heads = {
        "VP8 ": b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width, height),
        "VP8L": b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14),
        "VP8X": b"\x10\x00\x00\x00" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3],
    }
    body = b"WEBP" + form.encode() + struct.pack("<I", len(heads[form])) + heads[form]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()
