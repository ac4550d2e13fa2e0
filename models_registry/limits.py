"""What is known of models by the beginning of their names: windows, output limits, and options they refuse."""

from dataclasses import dataclass
from enum import StrEnum


class Thinking(StrEnum):
    """How a model of Anthropic's protocol thinks."""

    NEVER = "never"
    BUDGET = "budget"  # when it is given tokens for it
    ASKED = "asked"  # when it is asked to, as much as it sees fit
    UNLESS_DISABLED = "unless disabled"
    ALWAYS = "always"


@dataclass(frozen=True)
class ModelRule:
    """`context_length` and `max_tokens` in tokens, 0 where unknown.

    A model that `reasons`, one of OpenAI's, takes `max_completion_tokens` and no sampling option. Neither does one of
    Anthropic's of which `sampling` is false.
    """

    context_length: int = 0
    max_tokens: int = 0
    reasons: bool = False
    sampling: bool = True
    thinking: Thinking = Thinking.BUDGET


UNKNOWN = ModelRule()
_M = 1_000_000
RULES = {
    "gpt-3.5-turbo": ModelRule(16_385, 4_096),
    "gpt-4": ModelRule(8_192, 8_192),
    "gpt-4-32k": ModelRule(32_768, 32_768),
    "gpt-4-1106": ModelRule(128_000, 4_096),
    "gpt-4-0125": ModelRule(128_000, 4_096),
    "gpt-4-turbo": ModelRule(128_000, 4_096),
    "gpt-4-vision": ModelRule(128_000, 4_096),
    "gpt-4o": ModelRule(128_000, 16_384),
    "gpt-4.1": ModelRule(1_047_576, 32_768),
    "gpt-4.5": ModelRule(128_000, 16_384),
    "gpt-5": ModelRule(400_000, 128_000, reasons=True),
    "gpt-5-chat": ModelRule(128_000, 16_384),
    "o1": ModelRule(200_000, 100_000, reasons=True),
    "o1-mini": ModelRule(128_000, 65_536, reasons=True),
    "o1-preview": ModelRule(128_000, 32_768, reasons=True),
    "o3": ModelRule(200_000, 100_000, reasons=True),
    "o4-mini": ModelRule(200_000, 100_000, reasons=True),
    # A model of theirs that is not known yet is taken to be like the newest, but for its window.
    "claude": ModelRule(200_000, 64_000, sampling=False, thinking=Thinking.ALWAYS),
    "claude-3": ModelRule(200_000, 4_096, thinking=Thinking.NEVER),
    "claude-3-5": ModelRule(200_000, 8_192, thinking=Thinking.NEVER),
    "claude-3-7": ModelRule(200_000, 64_000),
    "claude-opus-4": ModelRule(200_000, 32_000),
    "claude-opus-4-5": ModelRule(200_000, 64_000),
    "claude-opus-4-6": ModelRule(_M, 128_000, thinking=Thinking.ASKED),
    "claude-opus-4-7": ModelRule(_M, 128_000, sampling=False, thinking=Thinking.ASKED),
    "claude-opus-4-8": ModelRule(_M, 128_000, sampling=False, thinking=Thinking.ASKED),
    "claude-opus-5": ModelRule(_M, 128_000, sampling=False, thinking=Thinking.UNLESS_DISABLED),
    "claude-opus-5-5": ModelRule(_M, 128_000, sampling=False, thinking=Thinking.ALWAYS),
    "claude-sonnet-4": ModelRule(200_000, 64_000),
    "claude-sonnet-4-6": ModelRule(_M, 128_000, thinking=Thinking.ASKED),
    "claude-sonnet-5": ModelRule(_M, 128_000, sampling=False, thinking=Thinking.UNLESS_DISABLED),
    "claude-sonnet-5-5": ModelRule(_M, 128_000, sampling=False, thinking=Thinking.ALWAYS),
    "claude-haiku-4-5": ModelRule(200_000, 64_000),
    "claude-haiku-5-5": ModelRule(_M, 128_000, sampling=False, thinking=Thinking.ALWAYS),
    "claude-fable-5": ModelRule(_M, 128_000, sampling=False, thinking=Thinking.ALWAYS),
    "claude-mythos-5": ModelRule(_M, 128_000, sampling=False, thinking=Thinking.ALWAYS),
}
_LONGEST_FIRST = sorted(RULES, key=len, reverse=True)


def rule(model: str) -> ModelRule:
    """The rule of the longest prefix that fits; a vendor before a slash (`openai/gpt-4o`) is left out."""
    name = model.rpartition("/")[2].lower()
    if name.startswith("claude"):
        name = name.replace(".", "-")  # other vendors write claude-sonnet-4.5
    return next((RULES[prefix] for prefix in _LONGEST_FIRST if _begins(name, prefix)), UNKNOWN)


def _begins(name: str, prefix: str) -> bool:
    # "o1" begins "o1-2024-12-17" and "gpt-4o" begins "gpt-4o-mini", but "gpt-4" does not begin "gpt-4all".
    return name.startswith(prefix) and (name == prefix or not name[len(prefix)].isalpha())
