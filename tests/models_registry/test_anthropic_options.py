"""What Anthropic's models take of a configuration, each in its way."""

from typing import Any

import pytest

from models_registry.backends.anthropic_options import OPTIONS
from models_registry.backends.openai_options import COMPATIBLE
from models_registry.config import normalise

OLD, SEEING, NEW = "claude-3-5-haiku-20241022", "claude-sonnet-4-5-20250929", "claude-opus-5-5"


def warnings(model: str, **agent: Any) -> dict[str, Any]:
    """Field and used value of each warning."""
    _, given = normalise(OPTIONS, {}, {"model": model, **agent})
    return {warning["field"]: warning["used"] for warning in given}


def test_f28_temperature_goes_up_to_one() -> None:
    assert warnings(SEEING, temperature=1.5) == {"temperature": 1}


@pytest.mark.parametrize("field", ["frequency_penalty", "presence_penalty", "seed"])
def test_f28_what_the_provider_does_not_know_is_left_out_with_a_warning(field: str) -> None:
    assert warnings(SEEING, **{field: 1}) == {field: None}


@pytest.mark.parametrize(
    ("model", "window", "most"),
    [
        ("claude-3-opus-20240229", 200_000, 4_096),
        ("claude-3-5-sonnet-latest", 200_000, 8_192),
        ("claude-3-7-sonnet-20250219", 200_000, 64_000),
        ("claude-opus-4-20250514", 200_000, 32_000),
        ("claude-opus-4-1", 200_000, 32_000),
        ("anthropic/claude-sonnet-4.5", 200_000, 64_000),
        ("anthropic/claude-3.5-haiku", 200_000, 8_192),
        ("claude-opus-4-6", 1_000_000, 128_000),
        ("claude-sonnet-5-5", 1_000_000, 128_000),
        ("claude-of-the-future", 200_000, 64_000),
    ],
)
def test_f28_every_model_has_the_limits_of_its_family(model: str, window: int, most: int) -> None:
    config, _ = normalise(OPTIONS, {}, {"model": model, "max_tokens": 900_000})
    assert (config.context_length, config.max_tokens) == (window, most)


def test_a_model_of_another_maker_has_the_drivers_window() -> None:
    config, given = normalise(OPTIONS, {}, {"model": "qwen3"})
    assert (config.context_length, config.max_tokens, config.temperature, given) == (200_000, 4096, 1.0, [])


@pytest.mark.parametrize("field", ["temperature", "top_p", "top_k"])
def test_the_newest_models_take_no_sampling(field: str) -> None:
    assert warnings(NEW, **{field: 1}) == {field: None}
    assert normalise(OPTIONS, {}, {"model": NEW})[0].temperature is None


def test_either_temperature_or_top_p_is_sent() -> None:
    config, given = normalise(OPTIONS, {}, {"model": SEEING, "top_p": 0.9})
    assert (config.temperature, config.top_p, given) == (None, 0.9, [])
    assert warnings(SEEING, top_p=0.9, temperature=0.5) == {"temperature": None}


def test_beside_thinking_sampling_is_as_the_provider_wants_it() -> None:
    assert warnings(SEEING, think=True, temperature=0.5) == {"temperature": None}
    assert warnings(SEEING, think="low", top_k=5) == {"top_k": None}
    assert warnings(SEEING, think=True, top_p=0.5) == {"top_p": None}
    assert warnings(SEEING, think=True, top_p=0.96) == {}
    assert warnings(SEEING, think=False, temperature=0.5, top_k=5) == {}


def test_thinking_that_is_not_to_be_had_is_left_out_with_a_warning() -> None:
    assert warnings(OLD, think=True) == {"think": None}
    assert warnings(SEEING, think=True, max_tokens=1024) == {"think": None}
    assert warnings(SEEING, think=True, max_tokens=1025) == {}
    assert warnings("claude-opus-4-6", think=True, max_tokens=1024) == {}


def test_thinking_that_cannot_be_switched_off_is_said() -> None:
    assert warnings(NEW, think=False) == {"think": None}
    assert warnings("claude-opus-5", think=False) == warnings(OLD, think=False) == {}


def test_a_stop_sequence_of_blanks_is_left_out_with_a_warning() -> None:
    assert warnings(SEEING, stop_sequences=["END", "\n"]) == {"stop_sequences": None}
    assert warnings(SEEING, stop_sequences=["END"]) == {}


def test_other_drivers_send_the_newest_models_what_they_are_told_to() -> None:
    config, given = normalise(COMPATIBLE, {}, {"model": "anthropic/claude-opus-5.5", "temperature": 0.5})
    assert (config.temperature, config.context_length, given) == (0.5, 1_000_000, [])
