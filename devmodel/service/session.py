"""One session with a core: a machine's outside is joined to it, and its chips run until the domain ends."""

import contextlib
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import structlog
import trio

from devmodel import VERSION, ConfigError, DevmodelError, log
from devmodel.board.parts import OWN, in_order
from devmodel.board.saved import Saved
from devmodel.consoles.clients import Clients
from devmodel.control import asking, monitor, probe, sockets
from devmodel.control.access import Local, Remote
from devmodel.control.qmp import Qmp
from devmodel.disks.image import Image
from devmodel.display import vnc
from devmodel.display.renderer import Renderer
from devmodel.service import trace, upgrade
from devmodel.service.clock import TrioClock
from devmodel.service.departure import Departure
from devmodel.service.domain import Domain
from devmodel.service.keeper import Keeper, Saves
from devmodel.service.outside import Outside
from devmodel.service.server import Attachment, Estate, Server
from devmodel.service.traced import TracedServer
from devmodel.service.watched import Machine, Watched
from ioreq import DomainGone, IoreqError
from ioreq.control_client import ControlClient, connect
from ioreq.messages import NrVcpus, Shutdown

if TYPE_CHECKING:
    from devmodel.web.server import Web

logger = structlog.get_logger()

PROGRAM: Final = f"devmodel {VERSION}"
LOOKING: Final = 1.0
"""Seconds between two looks at a core whose guest waits for a client of its console."""
LAST_WORDS: Final = 0.3
"""Seconds that the consoles get to show what the guest said at its end."""


@runtime_checkable
class Accompanied(Protocol):
    """A board with tasks of its own."""

    @property
    def tasks(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What runs beside the chips, in the event loop, until the domain ends."""
        ...


BoardFactory = Callable[[Outside, Domain, TrioClock], Machine]


class NobodyThere(DomainGone):
    """No core came in the time that was given."""


async def join(path: str, wait: float = float("inf")) -> ControlClient:
    """Connect to a core, waiting up to `wait` seconds for one to be there.

    Raises:
        NobodyThere: there is none.
        VersionMismatch: it speaks another version.

    """
    said = False
    deadline = trio.current_time() + wait
    while True:
        try:
            return await connect(path, program=PROGRAM)
        except DomainGone as error:
            if trio.current_time() >= deadline:
                raise NobodyThere(str(error)) from error
        if not said:
            said = True
            log.say(f"devmodel: waiting for a core on {path}")
        await trio.sleep(0.05)


async def serve(
    outside: Outside,
    client: ControlClient,
    board_factory: BoardFactory,
    *,
    on_ready: Callable[[Machine], None] = lambda _: None,
    departure: Departure | None = None,
) -> Shutdown | None:
    """Serve a core until its domain ends, and say how it was; None if it was left to a successor, on `departure`.

    Raises:
        DomainGone: the core is gone without a word.

    """
    departure = departure or Departure()
    shutdown: Shutdown | None = None
    failure: IoreqError | DevmodelError | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            try:
                shutdown = await _serve(outside, client, board_factory, on_ready, departure, nursery)
            except (IoreqError, DevmodelError) as error:
                failure = error  # not out of the nursery, which would wrap it
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failure = foreseen(group)  # of a task that runs beside
        if failure is None:
            raise
    if failure is not None:
        raise failure
    if shutdown is None and not departure.done:
        raise DomainGone(f"the core on {client.path} is gone")
    return shutdown


def foreseen(error: BaseException) -> IoreqError | DevmodelError | None:
    """Return the error that has its one line, out of the groups that nurseries make; None if there is another kind."""
    if isinstance(error, BaseExceptionGroup):
        found = [foreseen(inner) for inner in error.exceptions]
        return None if None in found else found[0]
    return error if isinstance(error, (IoreqError, DevmodelError)) else None


async def _serve(
    outside: Outside,
    client: ControlClient,
    board_factory: BoardFactory,
    on_ready: Callable[[Machine], None],
    departure: Departure,
    nursery: trio.Nursery,
) -> Shutdown | None:
    parts = outside.config.parts
    path = sockets.path_of(client.path, parts)
    listener = sockets.listen(path)
    pages = None
    attachment: Attachment | None = None
    try:
        if outside.config.web is not None and "serial" in parts and "vga" not in parts:
            pages = sockets.listen(_pages_of(client.path))  # for the page of the server with the screen
        tracing = outside.trace
        attachment = await Attachment.create(
            client, mirror=tracing is None, key=_key(parts), video="vga" in parts
        )
        estate = attachment.estate
        clock = TrioClock.start(0 if estate is None else _guest_time(estate.saved))
        outside.saved = None if estate is None else estate.saved
        board = _build(outside, attachment, board_factory, clock)
        _begin_outside(outside, nursery)
        keeper = None
        if attachment.area is not None and isinstance(board, Saves):
            keeper = Keeper(board, clock, attachment.area, attachment.endpoint.ring, attachment.id)
        with contextlib.ExitStack() as stack:
            if tracing is None:
                server = Server(board, attachment, clock, keeper)
            else:
                header = trace.Header(client.domain.name, time.time(), trace.ranges_of(board.bus))
                recorder = stack.enter_context(contextlib.closing(trace.Recorder(tracing, header)))
                nursery.start_soon(recorder.keep_flushed)
                server = TracedServer(board, attachment, clock, recorder, keeper)
            _catch_up(server, board, estate, outside)
            stack.enter_context(departure.of(server))
            prober = probe.Probe(client, server, board, outside, parts)
            if outside.inheritance.paused:
                # The core forgot it with our predecessor's connection, and lets the guest run when we are enabled.
                await prober.perform(probe.Pause())
            watched = Watched(client, board, parts, server, outside, departure, nursery, prober)
            watching = monitor.Monitor(watched)
            nursery.start_soon(watching.serve, listener)
            if estate is None:
                await _check_parts(client.path, path, parts)
            controlled = Qmp(Local(watching, Remote(client.path)))
            if outside.qmp is not None:
                prober.on_pause = lambda paused: controlled.tell("STOP" if paused else "RESUME")
                server.on_reset = lambda: controlled.tell("RESET", **_reset_reason(prober))
                nursery.start_soon(controlled.serve, outside.qmp)
            _show(outside, board, client, nursery)
            if pages is not None:
                nursery.start_soon(_consoles_page(outside, client).serve, [pages])
            for task in board.tasks if isinstance(board, Accompanied) else ():
                nursery.start_soon(_beside, task)
            on_ready(board)
            first = outside.consoles[0].clients
            if outside.config.serial.wait and first is not None and estate is None:
                await _first_client(first, client)
            try:
                shutdown = await server.run()
                if departure.done:
                    for console in outside.consoles:
                        console.line.disconnect()
                if shutdown is not None:
                    controlled.tell("SHUTDOWN", **_end_reason(prober))
                return shutdown
            finally:
                with trio.move_on_after(LAST_WORDS):
                    await controlled.told()
                    for console in outside.consoles:
                        await console.caught_up()
                # Behind the last words: nobody is shown anything any more.
                departure.collect(outside, paused=prober.paused)
    finally:
        if attachment is not None:
            await attachment.leave()  # if it was handed over, that is the end of our part
            attachment.close()
        listener.socket.close()  # as `serve_listeners` has done, if it came to that
        sockets.remove(path)
        if pages is not None:
            pages.socket.close()
            sockets.remove(_pages_of(client.path))


def _build(
    outside: Outside, attachment: Attachment, board_factory: BoardFactory, clock: TrioClock
) -> Machine:
    """Return the board, which does nothing to the outside that an interrupted predecessor has done.

    Raises:
        DevmodelError: none can be built of what the core says.

    """
    try:
        with _detached(outside, _interrupted(attachment.estate)):
            return board_factory(outside, attachment.domain, clock)
    except (ArithmeticError, LookupError, ValueError, struct.error, MemoryError) as error:
        where = attachment.client.path
        raise DevmodelError(f"no machine can be built of what the core on {where} says: {error}") from error


def _begin_outside(outside: Outside, nursery: trio.Nursery) -> None:
    """Begin to serve images, drives, the printout and the consoles' clients."""
    for image in outside.disks:
        if isinstance(image, Image):
            nursery.start_soon(image.run)
    for removable in (*outside.discs, *outside.diskettes):
        nursery.start_soon(removable.run)
    if outside.printout is not None:
        nursery.start_soon(outside.printout.run)
    for console in outside.consoles:
        console.serve(nursery)


def _interrupted(estate: Estate | None) -> bool:
    """Whether there was a predecessor that was killed, so that its state is older than the guest."""
    return estate is not None and not estate.exact


def _catch_up(server: Server, board: Machine, estate: Estate | None, outside: Outside) -> None:
    """Connect the consoles, and perform what an interrupted predecessor has not kept in its state.

    What it did is done again without the outside, before the consoles are connected; what it did not do, behind that.
    """
    if estate is not None and _interrupted(estate):
        with _detached(outside, True), _held(board):
            server.replay(estate.performed)
        if isinstance(board, Saves):
            board.recover(complete=estate.complete)
    if "serial" in outside.config.parts:
        for number, console in enumerate(outside.consoles):
            board.connect_serial(console.line, number)
    if estate is not None and _interrupted(estate):
        server.replay(estate.posted)
        if isinstance(board, Saves):
            board.remind()


async def _check_parts(domain_socket: str, own: str, parts: frozenset[str]) -> None:
    """Refuse parts that another server of the domain has: the core would ask only the first of the two.

    Our own monitor answers meanwhile, so that servers that start together do not wait for each other.

    Raises:
        ConfigError: there is such a server.

    """
    ask = partial(asking.neighbours, domain_socket, own)
    for answer in await trio.to_thread.run_sync(ask, abandon_on_cancel=True):
        both = in_order((parts & frozenset(answer.parts)) - {OWN})
        if both:
            raise ConfigError(f"{domain_socket}: process {answer.pid} serves {', '.join(both)} there already")


def _show(outside: Outside, board: Machine, client: ControlClient, nursery: trio.Nursery) -> None:
    """Begin to show the machine to viewers and browsers, as far as they are let."""
    name = client.domain.name
    if outside.vnc is None and outside.web is None:
        return
    parts = outside.config.parts
    renderer = Renderer(board.screen)
    nursery.start_soon(renderer.run)
    hands = board if "kbc" in parts else None
    if outside.vnc is not None:
        password = outside.vnc.password
        response = None if password is None else vnc.response_of(password)
        viewers = outside.vnc.viewers = vnc.Vnc(renderer, hands, name, response)
        for stream, agreed in upgrade.viewers_of(outside.inheritance):
            nursery.start_soon(viewers.client, stream, agreed)
        nursery.start_soon(viewers.serve, outside.vnc.listeners)
    if outside.web is not None:
        from devmodel.web.elsewhere import Elsewhere
        from devmodel.web.guard import Guard
        from devmodel.web.server import Web

        far_end = outside.web.far_end
        guard = Guard.of(
            None if far_end.kind == "unix" else far_end.host, outside.web.password, outside.web_secret
        )
        screen = vnc.Vnc(renderer, hands, name)
        lines = [console.line for console in outside.consoles] if "serial" in parts else []
        elsewhere = None if "serial" in parts else Elsewhere(_pages_of(client.path))
        nursery.start_soon(Web(name, guard, screen, lines, elsewhere).serve, outside.web.listeners)


def _pages_of(domain_socket: str) -> str:
    """Return where the server of a domain's serial ports has their consoles for the page of another server."""
    return domain_socket + ".web"


def _consoles_page(outside: Outside, client: ControlClient) -> "Web":
    """Return what serves the consoles to the page of another server, which has let in whoever comes."""
    from devmodel.web.guard import Guard
    from devmodel.web.server import Web

    lines = [console.line for console in outside.consoles]
    return Web(client.domain.name, Guard.of(None, None, outside.web_secret), None, lines)


def _reset_reason(prober: probe.Probe) -> dict[str, object]:
    """Return what QMP's event says of why a machine is reset."""
    asked, prober.reset_asked = prober.reset_asked, False
    return {"guest": not asked, "reason": "host-qmp-system-reset" if asked else "guest-reset"}


def _end_reason(prober: probe.Probe) -> dict[str, object]:
    """Return what QMP's event says of why a machine ends."""
    asked = prober.end_asked
    return {"guest": not asked, "reason": "host-qmp-quit" if asked else "guest-shutdown"}


def _key(parts: frozenset[str]) -> str:
    """Return the key under which a server's state is kept; chips of one's own may come to a server, and go."""
    return ",".join(in_order(parts - {OWN} or parts))


async def _first_client(console: Clients, client: ControlClient) -> None:
    """Wait until somebody is on the console, while the core lives.

    Raises:
        DomainGone: the core is gone.

    """
    while not console.came.is_set():
        with trio.move_on_after(LOOKING):
            await console.came.wait()
        await client.call(NrVcpus())


async def _beside(task: Callable[[], Awaitable[None]]) -> None:
    """Run a task of the board's; what ends it is told in one line.

    Raises:
        DevmodelError: it has failed.

    """
    try:
        await task()
    except (DevmodelError, IoreqError):
        raise
    except Exception as error:
        logger.debug("board.task_failed", exc_info=error)
        name = getattr(task, "__qualname__", repr(task))
        raise DevmodelError(f"the board's task {name} has failed: {log.origin(error)}") from error


def _guest_time(state: Saved) -> int:
    """Return what time it is for a guest now; the time that it stood still counts."""
    return state.time + max(time.monotonic_ns() - state.host_time, 0)


@contextlib.contextmanager
def _detached(outside: Outside, detached: bool) -> Iterator[None]:
    """Keep what a board does from the outside, for the length of the block: it has been done before."""
    images = [image for image in outside.disks if isinstance(image, Image)]
    removables = (*outside.discs, *outside.diskettes)
    images += [removable.image for removable in removables if removable.image is not None]
    for image in images:
        image.offline = detached
    outside.debug.muted = detached
    if outside.printout is not None:
        outside.printout.muted = detached
    try:
        yield
    finally:
        for image in images:
            image.offline = False
        outside.debug.muted = False
        if outside.printout is not None:
            outside.printout.muted = False


@contextlib.contextmanager
def _held(board: Machine) -> Iterator[None]:
    """Keep memory that outlives a board as it is, for the length of the block."""
    if isinstance(board, Saves):
        board.hold_memory(True)
    yield
    if isinstance(board, Saves):
        board.hold_memory(False)
