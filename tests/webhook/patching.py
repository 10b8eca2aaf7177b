"""The API server's side of a JSON Patch, as far as webhooks use it (RFC 6902, without test, move and copy)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from smeagol.webhook.json_patch import Operation

__all__ = ["patched"]


def patched(value: Any, operations: Iterable[Operation]) -> Any:
    """`value` after all operations; it is not changed itself. Fails where RFC 6902 says that a target must exist."""
    root = {"": json.loads(json.dumps(value))}
    for operation in operations:
        *parents, last = ["", *(part.replace("~1", "/").replace("~0", "~") for part in operation.path.split("/")[1:])]
        target: Any = root
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        new = json.loads(json.dumps(operation.value)) if operation.op != "remove" else None
        if isinstance(target, list):
            index = int(last)
            assert 0 <= index <= len(target) - (operation.op != "add")
            match operation.op:
                case "add":
                    target.insert(index, new)
                case "replace":
                    target[index] = new
                case "remove":
                    del target[index]
        else:
            assert operation.op == "add" or last in target
            if operation.op == "remove":
                del target[last]
            else:
                target[last] = new
    return root[""]
