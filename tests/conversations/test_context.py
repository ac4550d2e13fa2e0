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


messages = st.one_of(
    st.builds(lambda n: [user("u" * n)], st.integers(1, 300)),
    st.builds(lambda n: [assistant("a" * n)], st.integers(1, 300)),
    st.builds(lambda n, k: [assistant("t" * n, k), *[tool("r" * n)] * k], st.integers(1, 200), st.integers(1, 3)),
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
