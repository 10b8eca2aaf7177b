"""Plain values to models. Fields that a model lacks are ignored here; `validate` is what complains of them."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from smeagol.api.documents import Json
from smeagol.quantity import Weight

__all__ = ["to_json", "to_model"]

M = TypeVar("M")


def to_model(value: Json, model: type[M]) -> M:
    """Read a value that the API server has let pass. Raises msgspec.ValidationError if it would not have."""
    return msgspec.convert(value, model, dec_hook=_read)


def to_json(model: msgspec.Struct) -> Json:
    """The plain value of a model, without what it has by default."""
    value: Json = msgspec.to_builtins(model, enc_hook=str)
    return value


def _read(_type: type, value: Any) -> Weight:  # Any: msgspec's own signature
    """Weights are the only type in the models that msgspec does not know."""
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise msgspec.ValidationError("Expected a quantity")
    return Weight.parse(value)
