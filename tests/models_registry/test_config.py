from typing import Any

import pytest

from maintenance.errors import Invalid
from models_registry import config
from models_registry.backends.base import ModelConfig
from models_registry.backends.openai_options import COMPATIBLE, OFFICIAL
from models_registry.backends.options import DriverOptions

MODEL = {"model": "some-model"}


def normalised(agent: dict[str, Any], backend: dict[str, Any] | None = None, **values: Any) -> ModelConfig:
    options = values.pop("options", OFFICIAL)
    return config.normalise(options, backend or MODEL, agent, **values)[0]


def warnings(agent: dict[str, Any], **values: Any) -> dict[str, Any]:
    """What each warning says was used instead, by field."""
    options = values.pop("options", OFFICIAL)
    _, given = config.normalise(options, MODEL, agent, **values)
    assert all(warning["given"] == agent[warning["field"]] and warning["message"] for warning in given)
    return {warning["field"]: warning["used"] for warning in given}


def test_the_agent_comes_before_the_backend_and_the_backend_before_the_driver() -> None:
    got = normalised({"temperature": 0.1}, {"model": "m", "temperature": 0.5, "max_tokens": 99})
    assert (got.model, got.temperature, got.max_tokens, got.context_length) == ("m", 0.1, 99, 128_000)


def test_what_nobody_says_is_not_sent() -> None:
    got = normalised({})
    assert (got.top_p, got.top_k, got.seed, got.think, got.stop_sequences) == (None, None, None, None, ())


def test_null_counts_as_absent() -> None:
    assert normalised({"temperature": None, "max_tokens": None}) == normalised({})


def test_every_field_arrives() -> None:
    given: dict[str, Any] = {
        "model": "m", "temperature": 0.3, "max_tokens": 5, "top_p": 0.4, "top_k": 3, "context_length": 4096,
        "frequency_penalty": -1, "presence_penalty": 1, "stop_sequences": ["a"], "seed": 4, "timeout": 60,
        "think": True,
    }  # fmt: skip
    assert normalised(given, options=COMPATIBLE) == ModelConfig(**{**given, "stop_sequences": ("a",)})


def test_unknown_fields_are_refused_by_name() -> None:
    with pytest.raises(Invalid) as raised:
        config.validate({"temprature": 1, "num_ctx": 2, "top_p": 0.5})
    assert raised.value.errors == {
        "model_config.temprature": ["Unknown field."],
        "model_config.num_ctx": ["Unknown field."],
    }
    assert raised.value.status_code == 422


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""), ("model", 7), ("model", "x" * 256), ("model", "a\nb"),
        ("temperature", "0.5"), ("temperature", True), ("temperature", float("nan")), ("temperature", float("inf")),
        ("max_tokens", 1.5), ("max_tokens", "10"), ("seed", []), ("stop_sequences", "END"),
        ("stop_sequences", [""]), ("stop_sequences", [1]), ("think", "loud"), ("think", 1), ("timeout", {}),
    ],
)  # fmt: skip
def test_wrong_types_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(Invalid) as raised:
        config.validate({field: value})
    assert list(raised.value.errors or {}) == [f"model_config.{field}"]
    assert field in raised.value.message


@pytest.mark.parametrize("given", [[], "x", 7, None])
def test_a_configuration_that_is_no_object_is_refused(given: Any) -> None:
    with pytest.raises(Invalid):
        config.validate(given)


def test_what_is_valid_passes() -> None:
    config.validate({"model": "a/b:c", "temperature": 99, "max_tokens": 10.0})


@pytest.mark.parametrize(
    ("field", "given", "used"),
    [
        ("temperature", 7, 2), ("temperature", -1, 0), ("top_p", 1.5, 1), ("max_tokens", 0, 1), ("top_k", -3, 0),
        ("frequency_penalty", -9, -2), ("presence_penalty", 9, 2), ("seed", -1, 0), ("timeout", 0, 1),
        ("context_length", 3, 256),
    ],
)  # fmt: skip
def test_f28_values_out_of_range_are_moved_into_it_with_a_warning(field: str, given: Any, used: Any) -> None:
    agent = {"max_tokens": 100, field: given}
    assert getattr(normalised(agent, options=COMPATIBLE), field) == used
    assert warnings(agent, options=COMPATIBLE)[field] == used


def test_f28_ranges_belong_to_the_driver() -> None:
    strict = DriverOptions(defaults=OFFICIAL.defaults, refusal=OFFICIAL.refusal, ranges={"temperature": (0, 1)})
    assert warnings({"temperature": 1.5}, options=strict) == {"temperature": 1}
    assert warnings({"temperature": 1.5}) == {}


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("gpt-4o", "top_k", 40), ("gpt-4o", "think", True), ("gpt-4o", "think", "low"), ("o3-mini", "think", False),
        ("o3-mini", "think", "max"),
        ("o3-mini", "temperature", 0.5), ("gpt-5.1", "top_p", 0.5), ("gpt-5-mini", "stop_sequences", ["END"]),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_left_out_with_a_warning(model: str, field: str, value: Any) -> None:
    agent = {"model": model, field: value}
    assert warnings(agent) == {field: None}
    assert getattr(normalised(agent), field) in (None, ())


def test_defaults_that_do_not_apply_are_left_out_quietly() -> None:
    assert normalised({"model": "o3"}).temperature is None
    assert warnings({"model": "o3", "think": "low"}) == {}
    assert normalised({"model": "o3", "think": "low"}).think == "low"


def test_stop_sequences_beyond_what_the_provider_takes_are_left_out_with_a_warning() -> None:
    given = ["a", "b", "c", "d", "e"]
    assert warnings({"stop_sequences": given}) == {"stop_sequences": ["a", "b", "c", "d"]}
    assert warnings({"stop_sequences": given}, options=COMPATIBLE) == {}


@pytest.mark.parametrize(
    ("model", "window", "reply"),
    [
        ("gpt-4o-mini-2024-07-18", 128_000, 16_384), ("openai/gpt-4o", 128_000, 16_384), ("gpt-4", 8_192, 4_096),
        ("gpt-4-turbo-preview", 128_000, 4_096), ("GPT-4.1-nano", 1_047_576, 32_768), ("o1-2024-12-17", 200_000, None),
    ],
)  # fmt: skip
def test_f28_limits_hold_for_every_model_of_a_family(model: str, window: int, reply: int | None) -> None:
    got = normalised({"model": model, "max_tokens": 32_768 if reply == 32_768 else reply or 4096})
    assert got.context_length == window
    if reply:
        assert warnings({"model": model, "max_tokens": 900_000})["max_tokens"] in (reply, 8_192 // 2)


@pytest.mark.parametrize("model", ["gpt-4all", "o1x", "llama3", "gpt"])
def test_f28_a_name_that_only_looks_like_a_family_has_no_limits(model: str) -> None:
    assert normalised({"model": model, "max_tokens": 50_000}).max_tokens == 50_000


def test_the_servers_window_cannot_be_widened() -> None:
    assert warnings({"context_length": 100_000}, context_length=4096) == {"context_length": 4096}
    assert normalised({"context_length": 1024}, context_length=4096).context_length == 1024
    assert normalised({}, context_length=4096).context_length == 4096


def test_a_reply_leaves_room_for_the_messages() -> None:
    assert warnings({"max_tokens": 9000}, context_length=8192) == {"max_tokens": 4096}
    assert normalised({}, context_length=2048).max_tokens == 1024
    assert warnings({}, context_length=2048) == {}
