"""Deaths without number: servers killed at every step of their life, and cores killed while they are served.

`python -m tests.fuzz.deaths --against core|server --deaths 1000` counts what is left behind: descriptors, mapped pages,
children. Each peer is a process of its own, forked, and dies by SIGKILL.
"""

import argparse
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from ioreq import VERSION
from ioreq.messages import (
    ClaimInterruptAcknowledge,
    Created,
    CreateIoreqServer,
    GetIoreqServerInfo,
    GetStatistics,
    Hello,
    MapIoRange,
    Op,
    SetIoreqServerState,
    SetIsaIrqLevel,
    Statistics,
)
from tests.fuzz import values
from tests.fuzz.hostile_server import GUEST, Peer, probe
from tests.fuzz.victim import PATIENCE, Finding, Victim

STEPS = 12
"""Where a server may die: before, between and after the steps of its handshake, and over requests of each kind."""


def killed(child: Callable[[int], None], what: str, wait: float = PATIENCE + 1) -> None:
    """Fork `child`, which writes to its pipe when it is where it shall die, and kill it there."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ready)
            child(tell)
            os.write(tell, b"!")
            time.sleep(PATIENCE)
        except BaseException:  # noqa: BLE001  (we are a fork in the midst of a test: nothing may go on from here)
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(tell)
    try:
        if not select.select([ready], [], [], wait)[0] or os.read(ready, 1) != b"!":
            raise Finding(f"a peer did not get where it was to die: {what}")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)


def server_until(path: str, step: int) -> None:
    """Be a server until `step`: 0 to 7 of the handshake, then with a request, a string transfer, posted writes."""
    peer = Peer(path, random.Random(step))
    ops: list[Op] = [
        CreateIoreqServer(mirror=True),
        GetIoreqServerInfo(0),
        MapIoRange(0, 0, 0x60, 0x60),
        MapIoRange(0, 0, 0x1F0, 0x1F7),
        MapIoRange(0, 0, 0x40, 0x40, posted=True),
        ClaimInterruptAcknowledge(0),
        SetIoreqServerState(0, True),
        SetIsaIrqLevel(5, True),
    ]
    if step == 0:
        return
    peer.call(Hello(VERSION, f"dies at {step}"))
    created = peer.call(ops[0]) if step > 1 else None
    if not isinstance(created, Created):
        return
    for op in ops[1 : step - 1]:
        peer.call(
            type(op)(*[created.id, *[getattr(op, f) for f in op.__struct_fields__[1:-1]]])
            if "id" in op.__struct_fields__
            else op
        )
    if step > len(ops):
        serve_until(peer, step)


def serve_until(peer: Peer, step: int) -> None:
    """Answer requests rightly until there is one of the kind to die over."""
    page = peer.pages[1]
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if page[values.STATE_BYTE] & 0x0F != 1:
            continue
        page[values.STATE_BYTE] = page[values.STATE_BYTE] & 0x70 | 2
        pointer, address = page[values.STATE_BYTE] & 0x10, int.from_bytes(page[0:8], "little")
        if (
            (step == STEPS - 2 and pointer)
            or (step == STEPS - 1 and address == 0x60 and not pointer)
            or step < STEPS - 2
        ):
            return
        page[values.STATE_BYTE] = page[values.STATE_BYTE] & 0x70 | 3
        for bell in peer.bells:
            os.eventfd_write(bell, 1)
    raise Finding("the guest does not ask")


def against_core(folder: Path, deaths: int) -> str:
    """Kill servers of one core. Raises Finding."""
    (folder / "guest.bin").write_bytes(GUEST)
    path = str(folder / "domain")
    image = str(folder / "guest.bin")
    victim = Victim(folder, "hvcore", ["run", "--image", image, "--memory", "2M", "--domain", path])
    try:
        _until(lambda: os.path.exists(path), "the core does not listen")
        for n in range(2 * STEPS):  # threads and caches come into being
            killed(lambda _, n=n: server_until(path, n % STEPS), f"step {n % STEPS} of death {n}")
        probe(path, victim)
        first = _settled(victim)
        watch = Peer(path, random.Random(0))
        watch.call(Hello(VERSION, "watch"))
        slowest = 0.0
        for n in range(deaths):
            killed(lambda _, n=n: server_until(path, n % STEPS), f"step {n % STEPS} of death {n}")
            slowest = max(slowest, gone_on(watch))
        watch.close()
        probe(path, victim)
        _until(lambda: _settled(victim) <= first, f"left behind: {_settled(victim)}, before {first}")
        gone = victim.said().count("server.gone")
        wanted = sum(n % STEPS >= 2 for n in range(2 * STEPS + deaths))
        if gone != wanted and deaths < 150:  # the log is limited beyond that
            raise Finding(f"{gone} deaths were said of {wanted} servers")
        victim.check()
        victim.stop()
        return (
            f"{deaths} servers died, {first} before and after; "
            f"the guest went on {slowest * 1000:.1f} ms after a death at the latest"
        )
    finally:
        victim.kill()


def gone_on(watch: Peer) -> float:
    """Return the seconds until the guest has left the instruction that it is at. Raises Finding."""
    begin = time.monotonic()
    before = exits(watch)
    _until(lambda: exits(watch) != before, "the guest waits for a server that is dead")
    return time.monotonic() - begin


def exits(watch: Peer) -> int:
    """Return how many the vCPU has had."""
    said = watch.call(GetStatistics())
    if not isinstance(said, Statistics):
        raise Finding(f"get_statistics is answered with {said}")
    return sum(kind.count for kind in said.vcpus[0].exits)


def against_server(folder: Path, deaths: int) -> str:
    """Kill cores of one server. Raises Finding."""
    import tests.devmodel.conftest  # noqa: F401  (here, once, and not in each that dies: it takes a second)

    path = str(folder / "domain")
    victim = Victim(folder, "devmodel", ["serve", "--persist", "--domain", path])
    try:
        for n in range(4):
            killed(lambda tell, n=n: core_until(path, n % 4, tell), f"step {n % 4} of death {n}")
        _until(lambda: victim.shared_pages() == 0, "it keeps pages of a core that died")
        first = _settled(victim)
        for n in range(deaths):
            killed(lambda tell, n=n: core_until(path, n % 4, tell), f"step {n % 4} of death {n}")
        _until(lambda: _settled(victim) <= first, f"left behind: {_settled(victim)}, before {first}")
        victim.check()
        victim.stop()
        return f"{deaths} cores died, {first} before and after"
    finally:
        victim.kill()


def core_until(path: str, step: int, _: int) -> None:
    """Be a core until its server has greeted, created, been enabled, or is asked."""
    from tests.devmodel.conftest import FakeCore

    core = FakeCore(path)
    kinds = (Hello, CreateIoreqServer, MapIoRange, SetIoreqServerState)
    _until(
        lambda: (
            core.connection is not None and (step == 0 or any(isinstance(op, kinds[step]) for op in core.ops))
        ),
        "no server came",
    )
    if step == 3:
        core.enabled.wait(PATIENCE)
        core.inp(0x3FD)


def _settled(victim: Victim) -> tuple[int, int, int]:
    """Descriptors, mapped pages, children: once nothing changes any more."""
    time.sleep(0.3)
    children = Path(f"/proc/{victim.process.pid}/task/{victim.process.pid}/children").read_text().split()
    return victim.descriptors(), victim.shared_pages(), len(children)


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Finding(otherwise)
        time.sleep(0.005)


KINDS = {"core": against_core, "server": against_server}


def main() -> int:
    """Run; exit status 1 and the finding if there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.deaths", description=__doc__)
    parser.add_argument("--against", choices=KINDS, required=True)
    parser.add_argument("--deaths", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deaths-") as folder:
        try:
            sys.stdout.write(KINDS[options.against](Path(folder), options.deaths) + "\n")
        except Finding as finding:
            sys.stderr.write(f"{finding}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
