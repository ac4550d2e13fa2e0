from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_registry.backends.sse import Event, Parser, TooLong

CAP = 10_000
LINE_ENDS = st.sampled_from(["\n", "\r", "\r\n"])
LINES = st.sampled_from(
    ["data: one", "data:two", "data", "data:  two blanks", "event: error", ": comment", "id: 7", "retry: 1", "", "",
     "data: né 漢字 🎈", "unknown: x", "data: [DONE]"]
)  # fmt: skip


def parse(*pieces: bytes, cap: int = CAP) -> list[Event]:
    parser = Parser(cap)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return [*events, *parser.finish()]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.tuples(LINES, LINE_ENDS), max_size=12), st.lists(st.integers(0, 500), max_size=8))
def test_the_same_bytes_give_the_same_events_however_they_are_cut(
    lines: list[tuple[str, str]], places: list[int]
) -> None:
    stream = "".join(line + end for line, end in lines).encode()
    assert parse(*cut(stream, places)) == parse(stream)


@given(st.binary(max_size=200), st.lists(st.integers(0, 500), max_size=8))
def test_any_bytes_at_all_are_parsed_alike_however_they_are_cut(stream: bytes, places: list[int]) -> None:
    assert parse(*cut(stream, places)) == parse(stream)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_an_event_ends_at_a_blank_line(end: str) -> None:
    stream = f"data: a{end}{end}data: b{end}{end}".encode()
    assert parse(stream) == [Event("", "a"), Event("", "b")]


def test_a_carriage_return_and_its_line_feed_in_two_reads_are_one_line_end() -> None:
    assert parse(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [Event("", "a\nb")]


def test_it_joins_data_lines_and_keeps_the_name() -> None:
    assert parse(b"event: error\ndata: one\ndata: two\n\n") == [Event("error", "one\ntwo")]


def test_comments_ids_and_events_without_data_are_ignored() -> None:
    assert parse(b": ping\n\nid: 4\nretry: 10\n\nevent: empty\n\ndata: a\n\n") == [Event("", "a")]


def test_a_character_cut_in_two_reads_arrives_whole() -> None:
    stream = "data: 🎈\n\n".encode()
    assert parse(stream[:8], stream[8:]) == [Event("", "🎈")]


def test_the_last_event_needs_no_blank_line() -> None:
    assert parse(b"data: a\n\ndata: [DONE]") == [Event("", "a"), Event("", "[DONE]")]


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse(b"\xef\xbb\xbfdata: a\n\n") == [Event("", "a")]


def test_a_line_of_many_kilobytes_in_small_reads_arrives_whole() -> None:
    text = "x" * 300_000
    stream = f"data: {text}\n\n".encode()
    assert parse(*(stream[at : at + 1000] for at in range(0, len(stream), 1000)), cap=400_000) == [Event("", text)]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * CAP, b"data: 123456789\n" * CAP])
def test_it_refuses_what_never_ends(stream: bytes) -> None:
    with pytest.raises(TooLong):
        parse(stream)
