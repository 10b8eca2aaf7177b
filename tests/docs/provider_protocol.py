"""Writes docs/provider-protocol.md and its JSON Schema from what `smeagol.plan.protocol` says and `runtime.remote` does."""

# ruff: noqa: E501  (the lines are those of a page)
from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from smeagol.plan.protocol import MEDIA_TYPE, MOST_OBJECTS, schema
from smeagol.runtime.remote import AT_ONCE, CALL_SECONDS, LOOK_SECONDS, MOST_BYTES, TRIES
from smeagol.sources.kubernetes import Backoff

__all__ = ["protocol_page", "protocol_schema"]

ORDER = ("Introduction", "MadeKind", "CanaryIntent", "MutualTLSIntent", "SidecarIntent", "Planned", "PlannedUnsupported",
         "Observed")  # fmt: skip


def protocol_schema() -> str:
    return json.dumps(schema(), indent=2) + "\n"


def protocol_page() -> str:
    definitions: dict[str, Any] = schema()["$defs"]
    first = [name for name in ORDER if name in definitions]
    rest = [name for name in definitions if name not in (*first, "Asked")]
    return _PROSE + "".join(line for name in (*first, *rest) for line in _described(name, definitions[name]))


def _described(name: str, definition: dict[str, Any]) -> Iterator[str]:
    yield f"\n### {name}\n\n{definition.get('description', '').replace('|', chr(92) + '|')}\n"
    if "enum" in definition:
        yield "\nOne of " + ", ".join(f"`{value}`" for value in definition["enum"]) + ".\n"
        return
    yield "\n| Field | Type | |\n|---|---|---|\n"
    required = definition.get("required", [])
    for field, kind in definition["properties"].items():
        yield f"| `{field}` | {_type(kind)} | {'' if field in required else 'may be left out'} |\n"


def _type(kind: dict[str, Any]) -> str:
    if "$ref" in kind:
        name = kind["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in kind:
        return " or ".join(_type(each) for each in kind["anyOf"])
    if "enum" in kind:
        return "one of " + ", ".join(f"`{value}`" for value in kind["enum"])
    if kind.get("type") == "array":
        if "prefixItems" in kind:
            return "(" + ", ".join(_type(each) for each in kind["prefixItems"]) + ")"
        return f"list of {_type(kind['items'])}"
    return str(kind.get("type", "anything"))


_PROSE = f"""# The protocol of providers in processes of their own

<!-- Written by `make golden` from smeagol.plan.protocol and smeagol.runtime.remote. -->

A provider can be written in any language: it is a process that serves HTTP/1.1 on a Unix socket, and Smeagol asks it. It opens
no connection to the cluster, needs no rights there, and keeps no state: Smeagol watches, applies, cleans up and writes
statuses. [A tutorial](tutorial-provider.md) makes one of 60 lines.

```text
smeagol render -p unix:/run/mine.sock FILE...
smeagol providers --access unix:/run/mine.sock | kubectl apply -f -
smeagol controller -p unix:/run/mine.sock -p gateway-api
```

| Call | Body | Answer |
|---|---|---|
| `GET /` | | [Introduction](#introduction) |
| `POST /plan` | `{{"kind": "Canary", "unit": …}}`: a [CanaryIntent](#canaryintent), [MutualTLSIntent](#mutualtlsintent) or [SidecarIntent](#sidecarintent) | [Planned](#planned) |
| `POST /observe` | an object that was planned, as the API server has it now | [Observed](#observed) |

The media type of all bodies is `{MEDIA_TYPE}`. It is in `Accept` of each call, and must be the
`Content-Type` of each answer with status 200. Who speaks another version is told so, and not guessed at. Fields may be added
within a version: ignore those that you don't know. [The JSON Schema](provider-protocol.schema.json) is of this very version.

## Rules

- **`plan` is a function**: equal units give equal plans, and no unit depends on another. Smeagol asks when a unit is new or has
  changed, and keeps the answer.
- **Only what is in force is sent**: objects of a class with your `controllerName` that are accepted. Answer kinds that you can't
  serve with `unsupported`, and for a MutualTLS `failedClosed: true`.
- **What you name in `kinds` is what you may make**, and nothing else: an object of another kind, or outside of the user's
  namespace, makes the whole answer invalid. Name as few as you can: the controller reads all objects of these kinds.
- **What is no longer in the plan is deleted.** Objects that somebody else has made are never touched: where one has the name of
  yours, the user's object is `Conflicted`. Other foreign objects on the same target are not looked for.
- **`observe`** is asked whenever an object has changed, and every {LOOK_SECONDS:g} s while the verdict is not `Programmed`.

## What goes wrong

| | |
|---|---|
| no connection, no answer in {CALL_SECONDS:g} s, 5xx | asked again after {Backoff().first:g} s, then twice as long each time up to {Backoff().most:g} s, each unit for itself. What was in force stays so; the object is `Programmed=False`, `Pending`, with the reason. `smeagol render` tries {TRIES} times |
| 4xx | final, until the unit or your `version` changes: `Programmed=False`, `Rejected`, with the text of the body (500 bytes of it). What was in force stays so |
| another status or media type, more than {MOST_BYTES // 1024} KiB, more than {MOST_OBJECTS} objects, what the schema does not allow | the same as 4xx |
| `GET /` fails (asked every {LOOK_SECONDS:g} s) | the ProviderClass is not accepted, and nothing is changed until it is answered again; then everything is asked anew |
| another `version` or `features` | everything is planned anew |
| another `name`, `controllerName` or `kinds` | nothing is changed until the controller is restarted: its rights and watches follow from them |

At most {AT_ONCE} calls are under way at a time. A provider that is slow keeps only its own objects waiting, and a unit that it is
slow with no other. Whoever may open the socket may ask: keep it to the user that Smeagol runs as. In a cluster, put the provider
into the controller's Pod, with the socket on an `emptyDir`.

## Bodies

A weight is in thousandths: `500m` is 500, `1` is 1000. Lists in parentheses have just these members. References to what does not
exist are sent too; `leftOut` has the backends that cannot take part on a port just now.
"""
