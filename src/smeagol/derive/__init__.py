"""Collections computed from other collections, and recomputed only where their inputs changed.

Why this room exists: a control plane derives everything it says from objects that change one at a time. Keeping
an index by hand for every pair of kinds goes stale, and recomputing the world costs as much for one changed
endpoint as for ten thousand Services. Here each value is computed by a pure function from the values it read; the
graph remembers what was read, so the cost of a change is proportional to what it changes. Models: Istio's krt,
Rust's salsa, Adapton.

    graph = Graph()
    pods: Source[str, Pod] = graph.source("pods")
    services: Source[str, Service] = graph.source("services")
    by_app = graph.group("pods by app", pods, lambda key, pod: pod.apps)
    endpoints = graph.map("endpoints", services, endpoints_of)      # endpoints_of(key, service, read)

    pods.set("web-1", pod)
    changes = graph.settle()
    for key in changes[endpoints]:
        publish(key, endpoints.get(key))                            # None: removed

The rules:

- **Functions are pure.** Same inputs, same result; they look at other collections through their `Reader` only and
  keep it no longer than the call. What they read, absence included, is what makes them run again.
- **Values are immutable and compared with `==`.** An equal result is no change and stops there. `None` is never a
  value: it means absent.
- **Keys are hashable, and ordered among the keys of their collection.** Everything that lists keys lists them in
  order, so the result depends on the inputs alone and never on the order in which they came.
- **A collection reads only those created before it**, so one pass in order of creation settles the graph and
  computes each key at most once.
- **A function that raises stops nobody else.** Its key has no value, the exception is in `Collection.errors`, and
  it is tried again when something it read changes.
- **Nothing happens until `Graph.settle`.** Sources show an edit at once, derived collections at the next settle.

One thread at a time; no I/O, no tasks, no clock.
"""

from __future__ import annotations

from smeagol.derive.collection import AnyCollection, Collection, Source
from smeagol.derive.graph import Changes, Clash, Failure, Graph
from smeagol.derive.reads import Reader
from smeagol.derive.table import GraphError

__all__ = [
    "AnyCollection",
    "Changes",
    "Clash",
    "Collection",
    "Failure",
    "Graph",
    "GraphError",
    "Reader",
    "Source",
]
