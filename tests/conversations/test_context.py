import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations import context
from conversations.context import ContextTooSmall
from models_registry.backends.base import ChatMessage, ModelConfig, RequestedCall

CALL = RequestedCall(provider_id="", name="f", arguments={"x": "y"})


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def assistant(text: str, calls: int = 0) -> ChatMessage:
    return ChatMessage(role="assistant", content=text, tool_calls=[CALL] * calls)


def tool(text: str) -> ChatMessage:
    return ChatMessage(role="tool", content=text, tool_call_id="c")


def config(window: int | None, reserved: int = 100) -> ModelConfig:
    return ModelConfig(model="m", context_length=window, max_tokens=reserved)


def test_everything_is_sent_while_it_fits() -> None:
    history = [user("a"), assistant("b"), user("c")]
    chosen = context.choose(history, system_prompt="p", tools=(), config=config(4096))
    assert (list(chosen.messages), chosen.trimmed) == (history, 0)


def test_a_window_that_is_not_known_trims_nothing() -> None:
    history = [user("x" * 100_000)] * 3
    assert context.choose(history, system_prompt="", tools=(), config=config(None)).trimmed == 0


def test_the_oldest_go_first() -> None:
    history = [user("x" * 2000), assistant("x" * 2000), user("last")]
    chosen = context.choose(history, system_prompt="", tools=(), config=config(900))
    assert [message.content for message in chosen.messages][-1] == "last"
    assert chosen.trimmed == 1


def test_f23_a_window_as_large_as_the_reserved_output_still_holds_the_question() -> None:
    chosen = context.choose([user("hello")], system_prompt="p", tools=(), config=config(4096, reserved=4096))
    assert [message.content for message in chosen.messages] == ["hello"]


def test_f23_the_trigger_is_the_next_request_not_the_sum_of_all_turns() -> None:
    history = [message for n in range(20) for message in (user(f"q{n}"), assistant(f"a{n}"))]
    chosen = context.choose([*history, user("q")], system_prompt="", tools=(), config=config(4096))
    assert chosen.trimmed == 0


def test_too_small_a_window_is_said_and_not_worked_around() -> None:
    with pytest.raises(ContextTooSmall):
        context.choose([user("x" * 10_000)], system_prompt="", tools=(), config=config(500))


def test_a_long_answer_of_a_tool_is_shortened_before_giving_up_and_says_so() -> None:
    history = [user("old"), user("look"), assistant("", 1), tool("x" * 9000)]
    chosen = context.choose(history, system_prompt="", tools=(), config=config(1100))
    answer = chosen.messages[-1].content
    kept = chosen.shortened[3]
    assert (chosen.trimmed, list(chosen.shortened)) == (1, [3])
    said = f"[shortened to fit the model's window: {9000 - kept} of 9000 bytes are left out]"
    assert answer == "x" * kept + "\n" + said
    assert sum(map(context.message_tokens, chosen.messages)) > 950  # not more than needed


def test_the_oldest_answers_of_tools_are_shortened_first() -> None:
    history = [user("look"), assistant("", 3), tool("a" * 5000), tool("short"), tool("b" * 5000)]
    chosen = context.choose(history, system_prompt="", tools=(), config=config(2700))
    assert list(chosen.shortened) == [2]
    assert [message.content for message in chosen.messages][3:] == ["short", "b" * 5000]


def test_a_question_is_never_shortened() -> None:
    history = [user("x" * 5000), assistant("", 1), tool("y" * 900)]
    with pytest.raises(ContextTooSmall):
        context.choose(history, system_prompt="", tools=(), config=config(1400))


def test_characters_of_several_bytes_are_not_cut_in_two() -> None:
    history = [user("look"), assistant("", 1), tool("漢" * 3000)]
    chosen = context.choose(history, system_prompt="", tools=(), config=config(1100))
    text = chosen.messages[-1].content.split("\n")[0]
    assert text == "漢" * len(text)


def test_a_scale_below_one_lets_more_in_and_one_above_less() -> None:
    history = [user("x" * 1000) for _ in range(20)]
    kept = [
        len(context.choose(history, system_prompt="", tools=(), config=config(3000), scale=scale).messages)
        for scale in (0.5, 1.0, 2.0)
    ]
    assert kept[0] > kept[1] > kept[2] > 0


@pytest.mark.parametrize(
    ("counts", "scale"),
    [([], 1.0), ([(100, 150)], 1.5), ([(100, 150), (300, 250)], 1.0), ([(100, 1)], 0.5), ([(1, 900)], 3.0),
     ([(0, 5), (100, 0)], 1.0)],
)  # fmt: skip
def test_the_scale_is_what_was_counted_by_what_was_estimated(counts: list[tuple[int, int]], scale: float) -> None:
    assert context.scale(counts) == scale


messages = st.one_of(
    st.builds(lambda n: [user("u" * n)], st.integers(1, 300)),
    st.builds(lambda n: [assistant("a" * n)], st.integers(1, 300)),
    st.builds(lambda n, k: [assistant("t" * n, k), *[tool("r" * n)] * k], st.integers(1, 200), st.integers(1, 3)),
)
exchange = st.lists(st.text(max_size=3000).map(tool), min_size=1, max_size=3).map(
    lambda answers: [assistant("", len(answers)), *answers]
)


@given(st.lists(messages, max_size=12), st.integers(150, 2000))
def test_f24_what_is_kept_is_a_tail_with_the_last_question_and_whole_tool_exchanges(
    groups: list[list[ChatMessage]], window: int
) -> None:
    history = [message for group in groups for message in group] + [user("the question")]
    chosen = context.choose(history, system_prompt="", tools=(), config=config(window, reserved=50))
    kept = list(chosen.messages)
    assert kept == history[len(history) - len(kept) :]
    assert kept[-1].content == "the question"
    assert kept[0].role != "tool"
    assert chosen.trimmed == len(history) - len(kept)
    assert sum(map(context.message_tokens, kept)) <= window


@given(
    st.lists(messages, max_size=6),
    st.lists(exchange, max_size=4),
    st.integers(300, 4000),
    st.sampled_from([0.5, 1.0, 2.5]),
)
def test_f24_whatever_has_to_go_the_question_and_whole_exchanges_are_sent(
    groups: list[list[ChatMessage]], turns: list[list[ChatMessage]], window: int, scale: float
) -> None:
    earlier = [message for group in groups for message in group]
    tail = [user("the question"), *(message for turn in turns for message in turn)]
    try:
        chosen = context.choose(
            [*earlier, *tail], system_prompt="be kind", tools=(), config=config(window, reserved=50), scale=scale
        )
    except ContextTooSmall:
        return
    kept = list(chosen.messages)
    assert kept[-len(tail)] == tail[0]
    assert kept[0].role != "tool"
    assert chosen.trimmed == len(earlier) + len(tail) - len(kept)
    assert chosen.trimmed == len(earlier) or not chosen.shortened
    history = [*earlier, *tail]
    for place, message in enumerate(kept, start=chosen.trimmed):
        if place in chosen.shortened:
            assert message.role == "tool"
            assert message.content == context.shorten(history, chosen.shortened)[place].content
            assert len(message.content.encode()) < len(history[place].content.encode())
        else:
            assert message == history[place]
    assert scale * sum(map(context.message_tokens, kept)) <= window


@given(st.floats(0.6, 2.9), st.lists(st.integers(50, 5000), min_size=2, max_size=10))
def test_the_estimate_of_a_conversation_converges(ratio: float, sizes: list[int]) -> None:
    counts: list[tuple[int, int]] = []
    for size in sizes:
        expected = size * context.scale(counts)
        counted = round(size * ratio)
        if counts:
            assert abs(expected - counted) <= 0.02 * counted + 1
        counts.append((size, counted))
