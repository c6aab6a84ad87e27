"""The fields of OpenAI's API that no answer here depends on.

A field that would change the answer and is not supported is refused, never ignored. Fields that
change nothing for an answer (`user`, `metadata`, ...) are accepted. The value that a field has by
default at OpenAI (`n=1`, `frequency_penalty=0`) is accepted wherever its other values are refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from transprune.registry import did_you_mean
from transprune.serve.refusal import Refusal

# what clients send along, and no answer depends on
IGNORED = {
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
}

# field -> values that ask for nothing special
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "moderation": (None,),
    "n": (None, 1),
    "prediction": (None,),
    "presence_penalty": (None, 0),
    "reasoning_effort": (None, "none"),
    "response_format": (None, {"type": "text"}),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "verbosity": (None,),
    "web_search_options": (None,),
}


def check_others(fields: Mapping[str, Any], answered: Collection[str]) -> None:
    """Refuse fields that are unknown, or whose value would have to change the answer.

    Args:
        fields: those of a request that are not answered, with their values.
        answered: names of those that are, for the nearest name.

    Raises:
        Refusal: one of them is refused.
    """
    known = [*answered, *NEUTRAL]
    for name, value in fields.items():
        if name in IGNORED:
            continue

        # the name comes from outside and goes back in an answer and into a log
        shown = name[:64]
        if name not in NEUTRAL:
            raise Refusal(
                f"unrecognized request argument: {shown!r}.{did_you_mean(shown, known)}",
                param=shown,
                code="unknown_parameter",
            )

        if not any(
            value == neutral and _kind(value) == _kind(neutral) for neutral in NEUTRAL[name]
        ):
            raise Refusal(
                f"{name} is not supported here, apart from its default; leave it out",
                param=name,
                code="unsupported_parameter",
            )


def _kind(value: Any) -> str:
    """1 and True are equal, and not the same here."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return type(value).__name__
