"""What is known of models by the beginning of their names: windows, output limits, and options they refuse."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelRule:
    """`context_length` and `max_tokens` in tokens, 0 where unknown.

    A model that `reasons` takes `max_completion_tokens` and refuses every sampling option.
    """

    context_length: int = 0
    max_tokens: int = 0
    reasons: bool = False


UNKNOWN = ModelRule()
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
}
_LONGEST_FIRST = sorted(RULES, key=len, reverse=True)


def rule(model: str) -> ModelRule:
    """The rule of the longest prefix that fits; a vendor before a slash (`openai/gpt-4o`) is left out."""
    name = model.rpartition("/")[2].lower()
    return next((RULES[prefix] for prefix in _LONGEST_FIRST if _begins(name, prefix)), UNKNOWN)


def _begins(name: str, prefix: str) -> bool:
    # "o1" begins "o1-2024-12-17" and "gpt-4o" begins "gpt-4o-mini", but "gpt-4" does not begin "gpt-4all".
    return name.startswith(prefix) and (name == prefix or not name[len(prefix)].isalpha())
