"""What is taken as a picture, and what is refused."""

import pytest
from pytest_django.fixtures import Settings

from conversations import picture_types, pictures
from maintenance.errors import Invalid
from tests.conversations.drawings import base64_of, gif, jpeg, png, webp

KINDS = {
    "image/png": [png(31, 47)],
    "image/gif": [gif(31, 47)],
    "image/jpeg": [jpeg(31, 47)],
    "image/webp": [webp(form, 31, 47) for form in ("VP8 ", "VP8L", "VP8X")],
}
EACH = [(kind, data) for kind, each in KINDS.items() for data in each]


def refused(*raw: str) -> Invalid:
    with pytest.raises(Invalid) as raised:
        pictures.take(raw)
    return raised.value


@pytest.mark.parametrize(("kind", "data"), EACH)
def test_the_bytes_say_what_a_picture_is_and_how_large(kind: str, data: bytes) -> None:
    assert picture_types.media_type(data) == kind
    assert picture_types.size(data, kind) == (31, 47)


@pytest.mark.parametrize(("kind", "data"), EACH)
def test_what_a_data_url_says_of_its_type_is_not_believed(kind: str, data: bytes) -> None:
    (taken,) = pictures.take([f"data:text/html;charset=utf-8;base64,{base64_of(data)}"])
    assert (taken.media_type, taken.data) == (kind, data)


def test_base64_may_have_line_breaks() -> None:
    encoded = base64_of(png(filling=b"long enough for several lines " * 9))
    lines = "\r\n".join(encoded[at : at + 76] for at in range(0, len(encoded), 76))
    assert pictures.take([f"{lines}\n"]) == pictures.take([encoded])


@pytest.mark.parametrize("text", ["", "häh?", "aGk", "a-_=", "data:image/png,plain", "https://example.org/a.png"])
def test_what_is_no_base64_is_refused_and_named(text: str) -> None:
    refusal = refused(base64_of(png()), text)
    assert refusal.status_code == 422
    assert refusal.errors in ({"images.1": [pictures.NOT_BASE64]}, {"images.1": [pictures.NO_PICTURE]})


@pytest.mark.parametrize(
    "data",
    [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"BM\x00\x00", b"MZ" * 99, b"RIFF0000WAVE"],
)
def test_f42_any_other_type_is_refused(data: bytes) -> None:
    assert refused(f"data:image/png;base64,{base64_of(data)}").errors == {"images.0": [pictures.NO_PICTURE]}


@pytest.mark.parametrize(("kind", "data"), EACH)
def test_a_head_that_is_cut_off_is_refused(kind: str, data: bytes) -> None:
    for end in range(len(data)):
        kind_of_part = picture_types.media_type(data[:end])
        assert kind_of_part in ("", kind)
        if kind_of_part:
            assert picture_types.size(data[:end], kind) in ((0, 0), (31, 47))
    shortest = {"image/png": 8, "image/gif": 6, "image/jpeg": 3, "image/webp": 12}[kind]
    assert refused(base64_of(data[:shortest])).errors == {"images.0": [pictures.BROKEN]}


def test_a_jpeg_of_filling_bytes_is_refused() -> None:
    assert refused(base64_of(b"\xff\xd8" + b"\xff" * 5000)).errors == {"images.0": [pictures.BROKEN]}


def test_pictures_without_extent_and_absurd_ones_are_refused(settings: Settings) -> None:
    assert refused(base64_of(png(0, 5))).status_code == 422
    assert refused(base64_of(gif(5, 0))).status_code == 422
    absurd = refused(base64_of(png(65_000, 65_000)))
    assert (absurd.status_code, absurd.errors and list(absurd.errors)) == (413, ["images.0"])
    settings.IMAGE_MAX_PIXELS = 12
    assert len(pictures.take([base64_of(png(4, 3))])) == 1
    assert refused(base64_of(png(4, 4))).status_code == 413


def test_f29_each_limit_is_a_setting_and_names_itself(settings: Settings) -> None:
    data = png(filling=b"x" * 100)
    encoded = base64_of(data)
    settings.IMAGES_MAX, settings.IMAGE_MAX_BYTES, settings.IMAGES_MAX_BYTES = 3, len(data), 2 * len(data)
    assert len(pictures.take([encoded] * 2)) == 2
    together = refused(*[encoded] * 3)
    assert together.status_code == 413
    assert together.message == (
        f"The images of a message have at most {2 * len(data)} bytes together; these have {3 * len(data)}."
    )
    too_many = refused(*[encoded] * 4)
    assert (too_many.status_code, too_many.message) == (413, "A message has at most 3 images.")
    settings.IMAGE_MAX_BYTES = len(data) - 1
    one = refused(encoded)
    assert (one.status_code, one.code, one.errors) == (
        413, "too_large", {"images.0": [f"An image has at most {len(data) - 1} bytes."]}
    )  # fmt: skip


def test_files_are_refused_before_they_are_read(settings: Settings) -> None:
    settings.IMAGE_MAX_BYTES = 10
    pictures.require_room([10, 10])
    with pytest.raises(Invalid, match="at most 10 bytes"):
        pictures.require_room([10, 11])


def test_a_picture_shows_nothing_of_its_bytes() -> None:
    assert "IHDR" not in repr(pictures.take([base64_of(png())]))
