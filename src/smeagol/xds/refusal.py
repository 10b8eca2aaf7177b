"""What can be learned from the text with which a proxy refuses a response."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["mentioned", "parts", "reason"]

REASON_LIMIT = 1_000
"""Characters kept of a reason; whoever writes it, memory stays bounded."""

# Envoy prints the message that it refuses, before or after the reason, behind a marker of protobuf's debug format.
# The reason that follows a printed message is always that of its validation.
_PRINTED_MESSAGE = re.compile(r"goo\.gle/debug\w+.*?(?:: (?=Proto constraint)|\Z)", re.DOTALL)


def reason(message: str) -> str:
    """The reason alone, without the refused resource: that is long, and may hold a private key."""
    return _PRINTED_MESSAGE.sub("", message).strip(" :\n")[:REASON_LIMIT] or "the proxy gave no reason"


def mentioned(names: Iterable[str], message: str) -> tuple[str, ...]:
    """Those of `names` that stand in `message` as a word of their own, not as part of a longer name."""
    return tuple(
        name
        for name in names
        if name in message and re.search(rf"(?<![\w./:|-]){re.escape(name)}(?![\w/|-]|[.:]\w)", message)
    )


def parts(names: tuple[str, ...], message: str) -> tuple[tuple[str, ...], ...]:
    """How to divide the names of a refused response to find the bad ones.

    Those that the reason does not mention go first, since they are likely good; where it mentions none or all, halves.
    """
    bad = mentioned(names, message)
    if bad and len(bad) < len(names):
        return tuple(name for name in names if name not in bad), bad
    middle = len(names) // 2
    return names[:middle], names[middle:]
