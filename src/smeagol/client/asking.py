"""How a question goes to a control API and its answer comes back, whatever the way there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import httpx2
import msgspec

from smeagol.errors import SmeagolError

__all__ = ["Asked", "BadReplyError", "MeshNotFoundError", "MeshRefusedError", "SeveralMeshesError"]

TIMEOUT_SECONDS = 10.0

_T = TypeVar("_T")


class MeshNotFoundError(SmeagolError):
    """There is no running mesh to look into, or several and none was named."""

    code = "SMI-U001"


class SeveralMeshesError(MeshNotFoundError):
    """There are several, and one is to be named."""


class MeshRefusedError(SmeagolError):
    """The mesh answered that it will not do what was asked."""

    code = "SMI-U002"


class BadReplyError(SmeagolError):
    """The mesh answered in a way this version of `smeagol` cannot read."""

    code = "SMI-U003"


class Asked:
    """One control API. Raises MeshNotFoundError, MeshRefusedError, BadReplyError."""

    def __init__(self, name: str, transport: httpx2.BaseTransport) -> None:
        self.name = name
        self._http = httpx2.Client(transport=transport, base_url="http://smeagol", timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, type_: type[_T]) -> _T:
        return self.decoded(self.ask("GET", path), type_)

    def ask(
        self, method: str, path: str, *, params: dict[str, str] | None = None, json: Mapping[str, object] | None = None
    ) -> bytes:
        try:
            response = self._http.request(method, path, params=params, json=json)
        except httpx2.TransportError as error:
            raise MeshNotFoundError(
                f"mesh {self.name!r} does not answer ({error})", fix="It may just have stopped; look at its terminal"
            ) from error
        if response.status_code >= 400:
            raise MeshRefusedError(_reason(response.text) or f"status {response.status_code}", where=f"{method} {path}")
        return response.content

    def decoded(self, answer: bytes, type_: type[_T]) -> _T:
        try:
            return msgspec.json.decode(answer, type=type_)
        except msgspec.MsgspecError as error:
            raise BadReplyError(
                f"mesh {self.name!r} gave an answer that cannot be read: {error}",
                fix="Use the same version of smeagol for the mesh and for this command",
            ) from error


class _Refusal(msgspec.Struct):
    message: str = ""
    error: str = ""


_REFUSAL = msgspec.json.Decoder(_Refusal)
"""Made here, as several threads must not be the first to use a type (msgspec 0.22)."""


def _reason(text: str) -> str:
    try:
        refusal = _REFUSAL.decode(text)
    except msgspec.MsgspecError:
        return text.strip()
    return refusal.message or refusal.error
