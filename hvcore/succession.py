"""Who comes after whom: what a device model leaves when it hands over or dies, and the vCPUs that stand still for it.

An `Estate` is what the core keeps under a server's key: the area with its state (`ioreq.state_area`), which the core
does not look into, and after a death the dead server, whose ring goes on taking what the guest posts. The next server
with the key inherits. `Standstill` holds the vCPUs between two instructions meanwhile, for a bounded time.
"""

import errno
import os
import threading
import time
from collections.abc import Callable
from typing import Final

import attrs
import structlog

from hvcore.attached import IoreqServer
from ioreq import ControlError, ProtocolError, shared
from ioreq.messages import KeptState
from ioreq.state_area import AREA_SIZE

MAX_ESTATES: Final = 8
"""As many as there can be servers."""
PATIENCE: Final = 10.0
"""Seconds that a successor has, from when its predecessor has left the guest to it, and again from when it is there."""

log = structlog.get_logger("hvcore.succession")


@attrs.define(eq=False)
class Estate:
    """What is kept under a key."""

    key: str
    area: int
    """Descriptor of the area."""
    holder: IoreqServer | None = None
    handed_over: bool = False
    """Its last holder has left the guest to a successor, or will when no vCPU runs."""
    waited_in_vain: bool = False
    """But none came in time, and the guest went on."""
    dead: IoreqServer | None = None
    """Its last holder, if that died or handed over."""

    @property
    def inherited(self) -> bool:
        """Whether there is a predecessor whose place its holder takes."""
        return self.handed_over or self.dead is not None

    def close(self) -> None:
        """Close the area's descriptor."""
        os.close(self.area)


class Succession:
    """The estates of a domain. Used by the control thread, but for what says so."""

    def __init__(self, free: Callable[[IoreqServer], None]) -> None:
        """Use `free` to be rid of a dead server."""
        self._free = free
        self._estates: dict[str, Estate] = {}
        self._stale: frozenset[str] = frozenset()

    def take(self, server: IoreqServer, key: str) -> Estate:
        """Give a server the estate of a key, or a new one.

        Raises:
            ControlError: it has one already, another server has this one, or there are too many.

        """
        if self.of(server) is not None:
            raise ControlError(errno.EALREADY, f"ioreq server {server.id} keeps its state already")
        if key in self._stale:
            self._stale -= {key}
            self._drop(key)
        estate = self._estates.get(key)
        if estate is None:
            self._make_room()
            estate = self._estates[key] = Estate(key, shared.create("state", AREA_SIZE))
        if estate.holder is not None:
            raise ControlError(errno.EBUSY, f"ioreq server {estate.holder.id} keeps its state under this key")
        estate.holder = server
        return estate

    def of(self, server: IoreqServer) -> Estate | None:
        """Return what a server holds."""
        return next((estate for estate in self._estates.values() if estate.holder is server), None)

    def handed_over(self, server: IoreqServer) -> bool:
        """Whether a server has said that it leaves the guest to a successor."""
        estate = self.of(server)
        return estate is not None and estate.handed_over

    def enabled(self, server: IoreqServer) -> Estate | None:
        """Let a server take its predecessor's place; return the estate if there was one."""
        estate = self.of(server)
        if estate is None or not estate.inherited:
            return None
        estate.handed_over = estate.waited_in_vain = False
        if estate.dead is not None:
            self._free(estate.dead)
            estate.dead = None
        return estate

    def left(self, server: IoreqServer, *, died: bool) -> bool:
        """Take note that a server has left; whether what is posted to it must be kept for a successor."""
        estate = self.of(server)
        if estate is None:
            return False
        estate.holder = None
        if server.was_enabled and (died or estate.handed_over):
            estate.dead = server
            return True
        if not estate.inherited or server.was_enabled:
            self._drop(estate.key)
        return False

    def waited_in_vain(self, key: str) -> None:
        """Take note that the guest goes on without a successor. In a vCPU's thread."""
        estate = self._estates.get(key)
        if estate is not None:
            estate.waited_in_vain = True

    def forget_all(self) -> None:
        """Forget what has no holder now: the machine has been reset meanwhile. From any thread."""
        self._stale = frozenset(key for key, estate in self._estates.copy().items() if estate.holder is None)

    def close(self) -> None:
        """Be rid of everything."""
        for key in list(self._estates):
            self._drop(key)

    def _make_room(self) -> None:
        if len(self._estates) >= MAX_ESTATES:
            key = next((key for key, estate in self._estates.items() if estate.holder is None), None)
            if key is None:
                raise ControlError(errno.ENOSPC, f"at most {MAX_ESTATES} servers keep their state")
            self._drop(key)

    def _drop(self, key: str) -> None:
        estate = self._estates.pop(key)
        if estate.dead is not None:
            self._free(estate.dead)
        estate.close()


def kept(estate: Estate) -> tuple[KeptState, list[int]]:
    """Return the answer to `keep_state`, with the descriptors that go with it."""
    exact = estate.handed_over and not estate.waited_in_vain
    if estate.dead is None:
        return KeptState(exact=exact), [estate.area]
    endpoint = estate.dead.endpoint
    try:
        posted, in_flight = endpoint.posted()
    except ProtocolError:  # it broke its ring, so there is nothing to be had from there
        return KeptState(), [estate.area]
    reply = KeptState(exact=exact, server=estate.dead.id, posted=posted, in_flight=in_flight)
    return reply, [estate.area, endpoint.ring_descriptor]


class Standstill:
    """Holds the vCPUs between two entries. `changed` guards everything here."""

    def __init__(
        self,
        changed: threading.Condition,
        vcpus: int,
        *,
        ended: Callable[[], bool],
        in_vain: Callable[[str], None],
    ) -> None:
        """Ask `ended` whether the domain is at its end; tell `in_vain` the key that no successor came for."""
        self._in_vain = in_vain
        self._changed = changed
        self._vcpus = vcpus
        self._ended = ended
        self._standing = 0
        self._due: dict[str, float] = {}
        """By key: until when its successor is waited for, on the monotonic clock."""
        self._tell: list[Callable[[], None]] = []
        """What is to be done when no vCPU runs."""

    def begin(self, key: str, told: Callable[[], None], patience: float = PATIENCE) -> None:
        """Wait for the successor with this key; `told` is called when no vCPU runs. Each must be made to `stand`."""
        with self._changed:
            self._due[key] = time.monotonic() + patience
            if self._standing == self._vcpus:
                told()
            else:
                self._tell.append(told)
            self._changed.notify_all()

    def end(self, key: str) -> None:
        """Wait no longer: the successor is there."""
        with self._changed:
            self._due.pop(key, None)
            self._changed.notify_all()

    @property
    def stands(self) -> bool:
        """Whether no vCPU runs."""
        return self._standing == self._vcpus

    def stand(self) -> None:
        """Stand still, in a vCPU's thread, until every successor is there or has had its time."""
        with self._changed:
            if not self._due:
                self._say()  # it came and went while this vCPU was on its way here
                return
            self._standing += 1
            if self._standing == self._vcpus:
                self._say()
            while self._due and not self._ended():
                now = time.monotonic()
                for key in [key for key, due in self._due.items() if due <= now]:
                    del self._due[key]
                    self._in_vain(key)
                    log.warning("server.no_successor", key=key, seconds=PATIENCE)
                if self._due:
                    until = min(self._due.values())
                    self._changed.wait(None if until == float("inf") else until - now)
            self._standing -= 1

    def _say(self) -> None:
        for told in self._tell:
            told()
        self._tell.clear()
