"""All resources of one type, who wants them, and which of them changed since when.

What each of thousands of proxies has been sent is not kept per proxy. Every change of a shared resource gets a
number; a subscription remembers the last number it has seen, so what the proxy lacks is what changed later.
Who named a resource is one integer per name, with a bit for each stream. Both together make a stream that wants a
thousand resources as small as one that wants ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from smeagol.refs import NodeId
from smeagol.xds.resource import Entry

if TYPE_CHECKING:
    from smeagol.xds.subscription import Subscription

__all__ = ["Collection", "members"]

Fallback = Callable[[str], Entry | None]

SPARE_TOMBSTONES = 1_000
"""Names of removed resources that the log holds, beside as many as there are resources, before it is cleaned."""


class Collection:
    """The wanted state of one type; a stream is known here by a small number, its bit in the sets of streams."""

    __slots__ = (
        "_changed",
        "_fallback",
        "_own",
        "_owners",
        "_shared",
        "generation",
        "readers",
        "type_url",
        "watchers",
        "wildcards",
    )

    def __init__(self, type_url: str, fallback: Fallback) -> None:
        self.type_url = type_url
        self.generation = 0
        self.readers: dict[int, Subscription] = {}
        self.wildcards = 0
        self.watchers: dict[str, int] = {}  # name -> streams that named it
        self._fallback = fallback
        self._shared: dict[str, Entry] = {}
        self._own: dict[NodeId, dict[str, Entry]] = {}
        self._owners: dict[str, int] = {}  # name -> how many nodes have a resource of their own under it
        self._changed: dict[str, int] = {}  # name -> number of its last change, in the order of these numbers

    # What there is.

    def named(self, node: NodeId, name: str) -> Entry | None:
        """What `node` gets when it asks for `name`: its own, else the shared one, else what the fallback makes."""
        own = self._own.get(node)
        return (own and own.get(name)) or self._shared.get(name) or self._fallback(name)

    def of_wildcard(self, node: NodeId, name: str) -> Entry | None:
        """What `node` gets under `name` when it asks for everything."""
        own = self._own.get(node)
        entry = (own and own.get(name)) or self._shared.get(name)
        return None if entry is None or entry.on_demand else entry

    def wildcard(self, node: NodeId) -> Iterator[Entry]:
        """Everything that a wildcard gives to `node`, shared resources first, in the order of their creation."""
        own = self._own.get(node, {})
        for name, shared in self._shared.items():
            entry = own.get(name, shared) if own else shared
            if not entry.on_demand:
                yield entry
        for name, entry in own.items():
            if name not in self._shared and not entry.on_demand:
                yield entry

    def shares(self, name: str) -> bool:
        """Whether everybody gets `name`, from a wildcard too."""
        return _in_wildcard(self._shared.get(name))

    def owns(self, node: NodeId, name: str) -> bool:
        """Whether `node` has a resource of its own that hides the shared one."""
        own = self._own.get(node)
        return own is not None and name in own

    def owned(self, name: str) -> bool:
        """Whether some node has a resource of its own under `name`."""
        return name in self._owners

    def own_names(self, node: NodeId) -> tuple[str, ...]:
        return tuple(self._own.get(node, ()))

    @property
    def size(self) -> int:
        """How many resources there are, those of single nodes included."""
        return len(self._shared) + sum(map(len, self._own.values()))

    @property
    def idle(self) -> bool:
        """Whether nothing is lost when this object is dropped."""
        return not (self._shared or self._own or self.readers)

    # What changed.

    def changed_since(self, generation: int) -> list[str]:
        """Names of shared resources that changed after `generation`, oldest change first.

        Costs as much as there are such names.
        """
        if generation == self.generation:
            return []
        names = []
        for name, number in reversed(self._changed.items()):
            if number <= generation:
                break
            names.append(name)
        names.reverse()
        return names

    def last_change(self, name: str) -> int:
        return self._changed.get(name, 0)

    def set_shared(self, name: str, entry: Entry | None) -> int | None:
        """Put or (None) remove a shared resource. Returns the streams to wake, None if nothing changed."""
        before = self._shared.get(name)
        if entry is before or (entry is not None and entry.same_as(before)):
            return None
        if entry is None:
            del self._shared[name]
        else:
            self._shared[name] = entry
        concerned = self.watchers.get(name, 0)
        if _in_wildcard(before) or _in_wildcard(entry):
            self._log(name)
            concerned |= self.wildcards
        else:
            # The log would make every wildcard stream look at what it can never get, so those who named it are told.
            self._touch(name, concerned, shared=True)
        return concerned

    def set_own(self, node: NodeId, name: str, entry: Entry | None, streams: int) -> int | None:
        """Put or (None) remove a resource of `node`, which is connected as `streams`; returns as `set_shared`."""
        own = self._own.get(node, {})
        before = own.get(name)
        if entry is before or (entry is not None and entry.same_as(before)):
            return None
        if entry is not None:
            self._own.setdefault(node, own)[name] = entry
        else:
            del own[name]
            if not own:
                del self._own[node]
        owners = self._owners.get(name, 0) + (entry is not None) - (before is not None)
        if owners:
            self._owners[name] = owners
        else:
            self._owners.pop(name, None)
        interested = self.watchers.get(name, 0)
        if before is None or entry is None or _in_wildcard(before) or _in_wildcard(entry):
            interested |= self.wildcards  # a shared one, maybe of an earlier moment, is hidden or shows again
        self._touch(name, streams & interested)
        return streams & interested

    def _log(self, name: str) -> None:
        self.generation += 1
        self._changed.pop(name, None)  # so that it goes to the end
        self._changed[name] = self.generation
        if len(self._changed) > 2 * len(self._shared) + SPARE_TOMBSTONES:
            self._forget_removed()

    def _touch(self, name: str, streams: int, *, shared: bool = False) -> None:
        """`shared`: the one for all has changed, which does not concern who has its own."""
        for stream in members(streams):
            reader = self.readers.get(stream)
            if reader is not None and not (shared and self.owns(reader.node, name)):
                reader.touch(name)

    def _forget_removed(self) -> None:
        """Let every stream take what it needs of the log, so that the log need not remember removed resources.

        Without this, names that come and go would make the log grow for ever, since one proxy that never answers
        keeps its end open. It happens once in so many removals that it adds little to each.
        """
        for reader in self.readers.values():
            reader.catch_up()
        for name in [name for name in self._changed if name not in self._shared]:
            del self._changed[name]

    # Who wants what.

    def watch(self, name: str, stream: int) -> bool:
        """Note that `stream` names `name`; False if it did already."""
        before = self.watchers.get(name, 0)
        self.watchers[name] = before | 1 << stream
        return self.watchers[name] != before

    def unwatch(self, name: str, stream: int) -> bool:
        """Note that `stream` no longer names `name`; False if it did not."""
        before = self.watchers.get(name, 0)
        after = before & ~(1 << stream)
        if after:
            self.watchers[name] = after
        else:
            self.watchers.pop(name, None)
        return after != before

    def watched_by(self, stream: int) -> list[str]:
        bit = 1 << stream
        return [name for name, streams in self.watchers.items() if streams & bit]

    def leave(self, stream: int) -> None:
        """Forget a stream that has ended."""
        self.readers.pop(stream, None)
        self.wildcards &= ~(1 << stream)
        bit = 1 << stream
        for name, streams in [(name, streams) for name, streams in self.watchers.items() if streams & bit]:
            if streams == bit:
                del self.watchers[name]
            else:
                self.watchers[name] = streams ^ bit


def _in_wildcard(entry: Entry | None) -> bool:
    return entry is not None and not entry.on_demand


def members(streams: int) -> Iterable[int]:
    """The numbers whose bits are set in `streams`, smallest first."""
    while streams:
        lowest = streams & -streams
        yield lowest.bit_length() - 1
        streams ^= lowest
