"""Secrets that can't be printed, logged or serialized by accident."""

from __future__ import annotations

import hmac
from typing import NoReturn, SupportsIndex, final

__all__ = ["PrivateBytes"]


@final
class PrivateBytes:
    """Bytes such as a private key. Only `reveal()` gives them; everything else says `[redacted]` or fails.

    `repr`, `str`, formatting, logging and tracebacks with local variables show no part of them, not even the length;
    pickle, JSON and `bytes()` raise TypeError. A copy is the same object, so dataclass helpers work.
    """

    __slots__ = ("__value",)

    def __init__(self, value: bytes) -> None:
        self.__value = value

    def reveal(self) -> bytes:
        """The bytes themselves. Call it where they leave the process for where they belong, and keep no name for it."""
        return self.__value

    def __repr__(self) -> str:
        return "[redacted]"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "[redacted]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateBytes) and hmac.compare_digest(self.__value, other.__value)

    def __hash__(self) -> int:
        return hash(self.__value)

    def __copy__(self) -> PrivateBytes:
        return self

    def __deepcopy__(self, memo: object) -> PrivateBytes:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        msg = "PrivateBytes can't be pickled"
        raise TypeError(msg)
