"""A hostile device model: connections that say anything, shared pages full of it, doorbells abused."""

import array
import contextlib
import mmap
import os
import random
import select
import socket
import time
from pathlib import Path

import msgspec

from hvcore import succession
from ioreq import VERSION, messages
from ioreq.control import received_descriptors
from ioreq.evtchn import drain_doorbell
from ioreq.messages import (
    ClaimInterruptAcknowledge,
    Created,
    CreateIoreqServer,
    DomainInfo,
    Event,
    GetIoreqServerInfo,
    Hello,
    MapIoRange,
    NrVcpus,
    Op,
    Reply,
    SetIoreqServerState,
    Vcpus,
)
from tests.fuzz import values
from tests.fuzz.victim import MEMORY, PATIENCE, Finding, Victim

OPS: list[type[msgspec.Struct]] = [
    kind
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, messages._Op) and kind is not messages._Op
]
# What an honest server may end a domain with is no attack; it is tried rarely.
ENDING = {messages.RemoteShutdown}
GUEST = bytes.fromhex(
    # 0:7C00, real mode: every interrupt is an IRET at 0:7C02; then ports, strings and video memory for ever.
    "EB 01 CF"  # jmp over the iret
    "31C0 8ED8 8EC0 8ED0 BC007C"  # ds = es = ss = 0
    "31FF B90001"  # di = 0, cx = 256
    "B8027C AB 31C0 AB E2F7"  # each vector: 0:7C02
    "FB"  # sti
    # loop:
    "BA6000 EC EE ED EF"  # in, out on port 60h, of a byte and of a word
    "BAF001 B92000 BF0080 F36D"  # rep insw, 32 words from 1F0h
    "B92000 BE0080 F36F"  # rep outsw
    "BA4000 EE EC"  # a port that others may post to
    "B800A0 8EC0 8ED8 26A20000 26A00100"  # video memory
    "31F6 BF0001 B94000 F3A4"  # rep movsb there
    "31C0 8EC0 8ED8"
    "EBC0"
)
PORTS = ((0x60, 0x60), (0x60, 0x64), (0x1F0, 0x1F7), (0x40, 0x43), (0, 0xFFFF), (0x61, 0x61), (0x1F0, 0x1F0))


class Peer:
    """One connection."""

    def __init__(self, path: str, dice: random.Random) -> None:
        self.dice = dice
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(PATIENCE)
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise
        self.sock.setblocking(False)
        self.fds: list[int] = []
        self.pages: list[mmap.mmap] = []
        self.bells: list[int] = []
        self.servers: list[int] = []
        self.serial = 0
        self.alive = True

    def send(self, data: bytes, fds: list[int] | None = None) -> None:
        """Send, if it goes at once."""
        with contextlib.suppress(BlockingIOError, TimeoutError):
            try:
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
                self.sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
            except OSError as error:
                if not isinstance(error, BlockingIOError):
                    self.alive = False

    def receive(self, wait: float = 0.0) -> Reply | Event | None:
        """Take one message; its descriptors are kept."""
        if not self.alive or not select.select([self.sock], [], [], wait)[0]:
            return None
        try:
            data, ancillary, _, _ = self.sock.recvmsg(
                65536, socket.CMSG_SPACE(4 * 32), socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            self.alive = False
            return None
        fds = received_descriptors(ancillary)
        self.fds += fds
        if not data:
            self.alive = False
            return None
        message = msgspec.json.decode(data, type=Reply | Event)
        if isinstance(message, messages.Pages):
            for fd in fds:
                if os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:"):
                    self.pages.append(mmap.mmap(fd, 4096))
                else:
                    self.bells.append(fd)
        elif isinstance(message, DomainInfo):
            self.pages.append(mmap.mmap(fds[1], 4096))
            self.bells += fds[2:]
        elif isinstance(message, Created):
            self.servers.append(message.id)
        return message

    def call(self, op: Hello | Op) -> Reply | None:
        """Do an op as it should be done."""
        self.serial += 1
        self.send(msgspec.json.encode(msgspec.structs.replace(op, serial=self.serial)))
        deadline = time.monotonic() + PATIENCE
        while self.alive:
            message = self.receive(max(deadline - time.monotonic(), 0))
            if isinstance(message, Reply) and message.serial == self.serial:
                return message
            if time.monotonic() > deadline:
                raise Finding(f"no reply to {op} in {PATIENCE} seconds")
        return None

    def close(self) -> None:
        """Go, without a word."""
        self.sock.close()
        for page in self.pages:
            page.close()
        for fd in self.fds:
            os.close(fd)


KEPT = 2 * succession.MAX_ESTATES
"""Descriptors of the states, and the rings, of servers that are gone."""


def probe(path: str, victim: Victim) -> None:
    """Ask as an honest peer would, while the core lives."""
    deadline = time.monotonic() + PATIENCE
    while True:
        peer = None
        try:
            peer = Peer(path, random.Random(0))
            if peer.call(Hello(VERSION, "probe")) and peer.call(NrVcpus()) == Vcpus(1, serial=peer.serial):
                return
        except (BlockingIOError, ConnectionError, FileNotFoundError):
            pass
        finally:
            if peer is not None:
                peer.close()
        if victim.ended:
            return
        if time.monotonic() > deadline:
            raise Finding(f"an honest peer is not answered in {PATIENCE} seconds")
        time.sleep(0.05)


def attach(peer: Peer) -> None:
    """Get an ioreq server with everything, in whatever order."""
    dice = peer.dice
    created = peer.call(CreateIoreqServer(mirror=dice.random() < 0.7))
    if not isinstance(created, Created):
        return
    steps: list[Op] = [GetIoreqServerInfo(created.id), ClaimInterruptAcknowledge(created.id)]
    for first, last in dice.sample(PORTS, dice.randrange(1, 4)):
        mirrored = dice.choice((0, 0, 1, 8))
        steps.append(MapIoRange(created.id, 0, first, last, dice.random() < 0.5, mirrored))
    if dice.random() < 0.7:
        steps.append(MapIoRange(created.id, 1, 0xA0000, 0xBFFFF, dice.random() < 0.5))
    if dice.random() < 0.2:
        dice.shuffle(steps)
    for op in [*steps, SetIoreqServerState(created.id, True)]:
        peer.call(op)


def answer(peer: Peer) -> None:
    """Play the server more or less rightly for a moment, so that the guest gets on."""
    dice = peer.dice
    for page in peer.pages:
        state = page[values.STATE_BYTE] & 0x0F
        if state in (1, 2):
            if dice.random() < 0.9:
                page[8:16] = (values.number(dice) & (1 << 64) - 1).to_bytes(8, "little")
            if dice.random() < 0.02:
                values.scribble(dice, page)
            page[values.STATE_BYTE] = page[values.STATE_BYTE] & 0x70 | 3
    ring(peer)


def ring(peer: Peer) -> None:
    """Ring every bell; now and then so often that it is full, and blocking."""
    for bell in peer.bells:
        blocking = os.get_blocking(bell)
        os.set_blocking(bell, False)  # it must not be us who waits
        with contextlib.suppress(OSError):
            if peer.dice.random() < 0.01:
                drain_doorbell(bell)
                os.eventfd_write(bell, (1 << 64) - 2)
                blocking = True
            else:
                os.eventfd_write(bell, 1)
        os.set_blocking(bell, blocking)


def status_of(data: bytes) -> set[int]:
    """Return what the domain may end with because of this message."""
    try:
        said = msgspec.json.decode(data, type=messages.RemoteShutdown)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return set()
    return {said.code & 0xFF}


def session(path: str, dice: random.Random) -> set[int]:
    """One connection's life; return what it may have ended the domain with."""
    statuses: set[int] = set()
    try:
        peer = Peer(path, dice)
    except (ConnectionError, BlockingIOError, FileNotFoundError):
        return statuses
    try:
        if dice.random() < 0.15:
            for _ in range(dice.randrange(3)):
                peer.send(values.message(dice, [Hello, *OPS], 1, spoil=0.5))
                peer.receive(0.01)
            return statuses
        peer.call(Hello(VERSION, dice.choice(("fuzz", "\x1b[2J", "x" * 256, ""))))
        if dice.random() < 0.8:
            attach(peer)
        common = [kind for kind in OPS if kind not in ENDING]
        for _ in range(dice.randrange(300)):
            if not peer.alive:
                break
            match dice.randrange(8):
                case 0 | 1:
                    kinds = OPS if dice.random() < 0.002 else common
                    peer.serial += 1
                    fds = [peer.fds[0]] if peer.fds and dice.random() < 0.05 else None
                    said = values.message(dice, kinds, peer.serial)
                    statuses |= status_of(said)
                    peer.send(said, fds)
                case 2 if peer.pages and dice.random() < 0.3:
                    values.scribble(dice, dice.choice(peer.pages), words=dice.randrange(1, 8))
                case 3 if dice.random() < 0.1:  # a flood, unread
                    for _ in range(dice.randrange(600)):
                        peer.send(values.message(dice, common, 0, spoil=0))
                case 4:
                    for _ in range(dice.randrange(8)):
                        peer.receive()
                case 5 if dice.random() < 0.1:
                    time.sleep(dice.random() * 0.01)
                case _:
                    answer(peer)
    finally:
        peer.close()
    return statuses


class AgainstCore:
    """A core with a guest that keeps asking, and hostile servers."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.sessions = 0
        self.started = 0
        self.looks = 0
        self.victim: Victim | None = None
        (folder / "guest.bin").write_bytes(GUEST)

    @property
    def path(self) -> str:
        """The socket of the core that runs now."""
        return str(self.folder / f"core{self.started}")

    def start(self) -> Victim:
        """Start a core."""
        self.started += 1
        vendor = "vmx" if self.started % 2 else "svm"
        image = str(self.folder / "guest.bin")
        arguments = ["run", "--image", image, "--memory", "2M", "--vendor", vendor, "--domain", self.path]
        victim = Victim(self.folder, "hvcore", arguments)
        deadline = time.monotonic() + 30
        while not os.path.exists(self.path):
            if victim.ended or time.monotonic() > deadline:
                raise Finding(f"the core did not start:\n{victim.said()}")
            time.sleep(0.02)
        probe(self.path, victim)
        self.first = victim.descriptors()
        return victim

    def run(self, seconds: float) -> int:
        """Attack for so long; return how many connections that were. Raises Finding."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                if self.victim is None or self.victim.ended:
                    self.victim = self.start()
                dice = random.Random(self.seed + self.sessions)
                for _ in range(dice.randrange(1, 12)):
                    self.victim.statuses |= session(self.path, dice)
                    self.sessions += 1
                self.look()
            if self.victim is not None:
                self.victim.stop()
                self.victim.check()
        except Finding as finding:
            stacks = "" if self.victim is None else self.victim.stacks()
            raise Finding(f"seed {self.seed}, connection {self.sessions}: {finding}\n{stacks}") from None
        finally:
            if self.victim is not None:
                self.victim.kill()
        return self.sessions

    def look(self) -> None:
        """See that it is well, when all attackers have gone."""
        victim = self.victim
        assert victim is not None
        victim.check()
        if victim.ended:
            return
        try:
            self._compare(victim)
        except (Finding, OSError, ValueError):
            time.sleep(0.2)
            if not victim.ended:  # a domain may be shut down while we look
                raise
            victim.check()

    def _compare(self, victim: Victim) -> None:
        probe(self.path, victim)
        # A vCPU that waits for a successor closes nothing in that time.
        deadline = time.monotonic() + PATIENCE + succession.PATIENCE
        while victim.descriptors() > self.first + 1 + KEPT:
            if time.monotonic() > deadline:
                raise Finding(f"{victim.descriptors()} descriptors, {self.first} before")
            time.sleep(0.02)
        if self.looks % 10 == 0 and victim.busy_threads() > 1:
            raise Finding("more than one busy thread")
        self.looks += 1
        if victim.resident() > MEMORY:
            raise Finding(f"{victim.resident() >> 20} MiB of memory")
