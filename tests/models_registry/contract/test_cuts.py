"""However the bytes of an answer are cut into reads, the reply is the same."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_registry.backends.base import Cancellation, DeltaType, Reply
from tests.models_registry.conftest import Listener
from tests.models_registry.contract.conftest import DIALECTS

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12)
arguments = st.dictionaries(st.text('ab\n"é漢', max_size=3), st.integers() | texts, max_size=2)
said = st.tuples(st.sampled_from(["say", "think"]), texts)
called = st.tuples(st.just("call"), arguments)
cuts = st.lists(st.floats(0, 1), max_size=12)


def reply(wire: Any, *pieces: bytes) -> tuple[Reply, Listener]:
    """The reply to these bytes, each piece of which arrives in a read of its own."""
    heard = Listener()
    return wire.backend().stream(wire.whole(*(piece for piece in pieces if piece)), heard, Cancellation()), heard


def spoken(dialect: Any, parts: list[tuple[str, Any]]) -> list[bytes]:
    events: list[bytes] = dialect.begin()
    for number, (kind, value) in enumerate(parts):
        if kind == "call":
            text = dumps(value)
            events += dialect.call(f"call_{number}", "f", text[: len(text) // 2], text[len(text) // 2 :])
        else:
            events += getattr(dialect, kind)(value)
    return events


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("driver", DIALECTS)
@settings(max_examples=40, deadline=None)
@given(parts=st.lists(said | called, max_size=5), cuts=cuts, ended=st.booleans())
def test_cuts_make_no_difference(
    wires: dict[str, Any], driver: str, parts: list[tuple[str, Any]], cuts: list[float], ended: bool
) -> None:
    dialect = wires[driver].dialect
    whole = b"".join([*spoken(dialect, parts), *(dialect.end() if ended else [])]) or b"\n"
    places = sorted({0, len(whole), *(int(cut * len(whole)) for cut in cuts)})
    uncut, _ = reply(wires[driver], whole)
    cut, heard = reply(wires[driver], *(whole[start:end] for start, end in itertools.pairwise(places)))
    assert cut == uncut
    assert (cut.content, cut.thinking) == (heard.text(), heard.text(DeltaType.THINKING))
    assert cut.content == "".join(value for kind, value in parts if kind == "say")
    assert cut.whole is ended
    assert [call.arguments for call in cut.tool_calls] == [
        value if ended else None for kind, value in parts if kind == "call"
    ]
