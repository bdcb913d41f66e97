"""A hostile core: greetings, replies and events that cannot be, pages and descriptors of the wrong kind."""

import contextlib
import mmap
import os
import random
import select
import socket
import time
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import msgspec

from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.board.saved import pack
from ioreq import VERSION, messages, shared
from ioreq.evtchn import make_doorbell
from ioreq.layout import TYPE_COPY, TYPE_INTACK, TYPE_PCI_CONFIG, TYPE_PIO
from ioreq.messages import (
    Created,
    CreateIoreqServer,
    DomainInfo,
    E820Entry,
    Error,
    GetIoreqServerInfo,
    Hello,
    IsaIrqLevel,
    KeptState,
    NrVcpus,
    Ok,
    Op,
    Pages,
    PciIntxLevel,
    RamRegion,
    Reset,
    Shutdown,
    Vcpus,
)
from ioreq.state_area import AREA_SIZE
from tests.fuzz import values
from tests.fuzz.victim import MEMORY, PATIENCE, Finding, Victim

RAM = 2 << 20
STARTS_IN = 60.0
"""Seconds."""


def saved_state() -> bytes:
    """Return what a server of the whole machine leaves."""
    core: Any = MagicMock(video=None)
    board = Board.build(ManualClock(), core, Fittings(memory=[]))
    return pack(board.states(), time=1, host_time=1, whole=False, server=0, performed=100)


STATE = saved_state()
SAYINGS: list[type[msgspec.Struct]] = [
    kind
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, messages._Said) and not kind.__name__.startswith("_")
]
ENDING = {Shutdown}


def wrong_descriptor(dice: random.Random) -> int:
    """Return a descriptor of a kind that is wrong almost everywhere."""
    match dice.randrange(6):
        case 0:
            return os.open("/dev/null", os.O_RDWR)
        case 1:
            read, write = os.pipe()
            os.close(read)
            return write
        case 2:
            fd = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
            os.ftruncate(fd, dice.choice((0, 1, 4095, 4096, 8192)))
            return fd
        case 3:
            return shared.create("odd", dice.choice((1, 4095, 4097, 8192)))
        case 4:
            return os.eventfd(0)
        case _:
            return shared.create("page", 4096)


class Core:
    """One domain, as long as its server bears it."""

    def __init__(self, listener: socket.socket, dice: random.Random) -> None:
        self.dice = dice
        self.listener = listener
        self.spoil = dice.choice((0.0, 0.0, 0.02, 0.1))
        self.fds: list[int] = []
        self.pages: list[mmap.mmap] = []
        self.bells: list[int] = []
        self.alive = True
        self.enabled = False
        self.sock = listener

    def run(self, victim: Victim) -> None:
        """Take one connection through its life."""
        if not select.select([self.listener], [], [], PATIENCE)[0]:
            if victim.ended:
                return
            raise Finding("the server does not come back for the next domain")
        self.sock, _ = self.listener.accept()
        self.sock.setblocking(False)
        end = time.monotonic() + self.dice.random() * 1.5
        try:
            while self.alive and time.monotonic() < end:
                self.hear(0.0 if self.enabled else 0.05)
                if self.enabled:
                    self.attack()
        finally:
            self.close()

    def hear(self, wait: float) -> None:
        """Take an op and answer it, rightly or not."""
        if not select.select([self.sock], [], [], wait)[0]:
            return
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.alive = False
            return
        op = msgspec.json.decode(data, type=Hello | Op)
        if self.dice.random() < self.spoil:
            self.say_anything(op.serial)
            return
        match op:
            case Hello():
                self.greet(op.serial)
            case CreateIoreqServer():
                self.say(Created(0, serial=op.serial))
            case GetIoreqServerInfo():
                self.hand_out(op.serial)
            case messages.GetVideoMemory():
                spoilt = self.dice.random() < self.spoil
                offset, length = (values.number(self.dice) >> 1, RAM >> 1) if spoilt else (0, RAM >> 1)
                self.say(messages.VideoMemory(offset, length, serial=op.serial))
            case messages.KeepState():
                self.hand_out_state(op.serial)
            case NrVcpus():
                self.say(Vcpus(1, serial=op.serial))
            case _:
                self.enabled = self.enabled or isinstance(op, messages.SetIoreqServerState)
                refuse = self.dice.random() < self.spoil
                self.say(
                    Error(values.number(self.dice) & 0xFFFF, "no \x1b[2J", serial=op.serial)
                    if refuse
                    else Ok(serial=op.serial)
                )

    def greet(self, serial: int) -> None:
        """Describe the domain."""
        dice = self.dice
        ram = [RamRegion(0, RAM, 0)]
        if dice.random() < self.spoil:
            clip = (1 << 63) - 1
            ram = [
                RamRegion(*(min(abs(values.number(dice)), clip) for _ in range(3)))
                for _ in range(dice.randrange(4))
            ]
        e820 = [E820Entry(0, RAM, 1)]
        if dice.random() < self.spoil:
            e820 = [E820Entry((1 << 63) - 1, (1 << 63) - 1, 0xFFFF)] * dice.randrange(128)
        fds = [shared.create("ram", RAM), shared.create("pins", 4096), make_doorbell()]
        self.pages.append(mmap.mmap(fds[1], 4096))
        self.bells.append(os.dup(fds[2]))
        self.say(DomainInfo(VERSION, 1, ram, e820, serial=serial), self.spoiled(fds))

    def hand_out(self, serial: int) -> None:
        """Give pages and doorbells."""
        fds = [shared.create(name, 4096) for name in ("ioreq", "buffered", "events", "mirror")]
        self.pages += [mmap.mmap(fd, 4096) for fd in fds]
        bells = [make_doorbell(), make_doorbell()]
        self.bells += [os.dup(bell) for bell in bells]
        self.say(Pages(0, serial=serial), self.spoiled([*fds, *bells]))

    def hand_out_state(self, serial: int) -> None:
        """Give an area with the state of a predecessor, more or less, and perhaps the ring that it left."""
        dice = self.dice
        state = bytearray(STATE)
        for _ in range(dice.randrange(4) if self.spoil else 0):
            state[dice.randrange(len(state))] = dice.randrange(256)
        fds = [shared.create("state", AREA_SIZE)]
        with mmap.mmap(fds[0], AREA_SIZE) as area:
            area[8:16] = (len(state) if dice.random() > self.spoil else values.number(dice)).to_bytes(
                16, "little", signed=True
            )[:8]
            area[4096 : 4096 + len(state)] = bytes(state)
            area[0:8] = dice.randrange(2).to_bytes(8, "little")
        if dice.random() < 0.5:
            fds.append(shared.create("ring", 4096))
            with mmap.mmap(fds[1], 4096) as ring:
                ring[:] = dice.randbytes(4096)
        posted = dice.randrange(2000)
        self.say(
            KeptState(False, dice.randrange(2), posted, dice.randrange(512), serial=serial), self.spoiled(fds)
        )

    def spoiled(self, fds: list[int]) -> list[int]:
        """Return descriptors, perhaps not all, or not what they should be."""
        for n in range(len(fds)):
            if self.dice.random() < self.spoil:
                os.close(fds[n])
                fds[n] = wrong_descriptor(self.dice)
        if self.dice.random() < self.spoil:
            os.close(fds.pop())
        return fds

    def say(self, message: msgspec.Struct, fds: list[int] | None = None) -> None:
        self.put(values.mangled(self.dice, msgspec.json.encode(message), self.spoil / 4), fds)

    def say_anything(self, serial: int) -> None:
        """Say what is out of place."""
        kinds = [kind for kind in SAYINGS if kind not in ENDING]
        fds = [wrong_descriptor(self.dice) for _ in range(self.dice.randrange(3))]
        self.put(values.message(self.dice, kinds, serial, spoil=0.1), fds)

    def put(self, data: bytes, fds: list[int] | None = None) -> None:
        """Send, and close the descriptors."""
        try:
            socket.send_fds(self.sock, [data], fds or [], socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except OSError:
            self.alive = False
        for fd in fds or []:
            os.close(fd)

    def attack(self) -> None:
        """Ask the server's chips for anything, and write anything into its pages."""
        dice = self.dice
        ioreq = self.pages[1] if len(self.pages) > 1 else self.pages[0]
        match dice.randrange(12):
            case 0 if self.spoil:
                values.scribble(dice, dice.choice(self.pages), words=dice.randrange(1, 4))
            case 1 if dice.random() < 0.05:
                self.say(Reset())
            case 2 if dice.random() < 0.1:
                for _ in range(dice.randrange(400)):
                    irq, level = dice.randrange(20), dice.random() < 0.5
                    self.say(IsaIrqLevel(irq, level) if irq < 16 else PciIntxLevel(0, irq, irq & 3, level))
            case 3 if self.spoil and dice.random() < 0.1:
                self.say_anything(values.number(dice) & 0xFF)
            case 4 if len(self.pages) > 2:
                self.post()
            case _:
                self.request(ioreq)
        for bell in self.bells:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_write(bell, 1)

    def request(self, page: mmap.mmap) -> None:
        """Put a request into the slot, and give it a moment."""
        dice = self.dice
        address = dice.choice(
            (
                0x60,
                0x64,
                0x1F0,
                0x1F7,
                0x3F8,
                0x3FD,
                0x20,
                0x21,
                0x40,
                0x43,
                0x510,
                0x511,
                0x514,
                0x518,
                0xCF8,
                0xCFC,
            )
        )
        kind = dice.choice(
            (TYPE_PIO, TYPE_PIO, TYPE_PIO, TYPE_COPY, TYPE_PCI_CONFIG, TYPE_INTACK, dice.randrange(256))
        )
        if kind == TYPE_COPY or dice.random() < 0.1:
            address = dice.choice((0xA0000, 0xB8000, 0xBFFFF, values.number(dice) & (1 << 64) - 1))
        size = dice.choice((1, 1, 2, 4, 8, values.number(dice) & 0xFFFF_FFFF))
        count = dice.choice((1, 1, 1, 16, 512, 4096, values.number(dice) & 0xFFFF_FFFF))
        page[0:8] = address.to_bytes(8, "little")
        page[8:16] = (values.number(dice) & (1 << 64) - 1).to_bytes(8, "little")
        page[16:24] = (count | size << 32).to_bytes(8, "little")
        page[31] = kind
        page[values.STATE_BYTE] = dice.choice((0, 0x10, 0x20, 0x30, 0x40, 0x70)) | dice.choice(
            (1, 1, 1, 1, 2, 3)
        )
        for bell in self.bells:
            os.eventfd_write(bell, 1)
        deadline = time.monotonic() + 0.002
        while page[values.STATE_BYTE] & 0x0F != 3 and time.monotonic() < deadline:
            pass
        page[values.STATE_BYTE] = 0

    def post(self) -> None:
        """Put writes into the ring."""
        ring = self.pages[2]
        write = int.from_bytes(ring[4:8], "little") % 1022
        for _ in range(self.dice.randrange(64)):
            at = 8 + 8 * (write % 511)
            ring[at : at + 8] = self.dice.getrandbits(64).to_bytes(8, "little")
            write = (write + 1) % 1022
        ring[4:8] = write.to_bytes(4, "little")

    def close(self) -> None:
        """Die."""
        self.sock.close()
        for page in self.pages:
            page.close()
        for bell in self.bells:
            os.close(bell)


class AgainstServer:
    """`devmodel serve --persist` and hostile cores, one after the other."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.domains = 0
        self.path = str(folder / "domain")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(4)
        self.victim: Victim | None = None
        self.first = 0

    def run(self, seconds: float) -> int:
        """Attack for so long; return how many domains that were. Raises Finding."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                if self.victim is None or self.victim.ended:
                    self.victim = Victim(
                        self.folder, "devmodel", ["serve", "--persist", "--domain", self.path]
                    )
                    self._await_start(self.victim)
                Core(self.listener, random.Random(self.seed + self.domains)).run(self.victim)
                self.domains += 1
                self.look()
            if self.victim is not None:
                self.victim.stop()
                self.victim.check()
        except Finding as finding:
            stacks = "" if self.victim is None else self.victim.stacks()
            raise Finding(f"seed {self.seed}, domain {self.domains}: {finding}\n{stacks}") from None
        finally:
            if self.victim is not None:
                self.victim.kill()
            self.listener.close()
        return self.domains

    def _await_start(self, victim: Victim) -> None:
        """See it come; where all processors are busy a new process is slow, and that is no finding."""
        deadline = time.monotonic() + STARTS_IN
        while not select.select([self.listener], [], [], 0.1)[0]:
            if victim.ended or time.monotonic() > deadline:
                raise Finding(f"the server did not start:\n{victim.said()[-2000:]}")

    def look(self) -> None:
        """See that it is well. Between two domains it has what it began with."""
        victim = self.victim
        assert victim is not None
        victim.check()
        if victim.ended or self.domains % 10:
            return
        deadline = time.monotonic() + PATIENCE
        while not select.select([self.listener], [], [], 0.1)[0]:
            if time.monotonic() > deadline or victim.ended:
                raise Finding(f"it does not come back for the next domain:\n{victim.said()[-2000:]}")
        now = victim.descriptors()
        self.first = self.first or now
        if now > self.first + 2:
            raise Finding(f"{now} descriptors, {self.first} before")
        if victim.busy_threads() > 0:
            raise Finding("busy while it waits for a domain's greeting")
        if victim.resident() > MEMORY:
            raise Finding(f"{victim.resident() >> 20} MiB of memory")
