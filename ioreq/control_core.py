"""The core's end of the domain socket: one thread with a selector for all connections, which calls a `Handler`.

Whatever a peer does costs its own connection at most. One that says nothing is dropped after `HELLO_PATIENCE`, one
that does not read its replies is not listened to, one that drives lines faster than their owner hears of it waits
until that has caught up (`Connection.wait_for`). What goes wrong in the thread itself ends the core (`Handler.failed`):
a core that lives on deaf would be worse.
"""

import contextlib
import errno
import os
import selectors
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

import attrs
import msgspec
import structlog

from ioreq import VERSION, ControlError, IoreqError, ProtocolError, VersionMismatch
from ioreq.control import (
    MAX_DESCRIPTORS,
    MAX_MESSAGE,
    check_path,
    check_uid,
    close_all,
    peer_uid,
    received_descriptors,
)
from ioreq.messages import MAX_TEXT, DomainInfo, Error, Event, Hello, Op, Reply, Serial

log = structlog.get_logger()

MAX_QUEUED: Final = 256
"""Events that a device model may leave unread."""
MAX_CONNECTIONS: Final = 64
"""A newcomer beyond that takes the place of the one that has been silent longest, if any has not said hello."""
HELLO_PATIENCE: Final = 5.0
"""Seconds that a connection has to say hello."""
ACCEPT_PAUSE: Final = 0.5
"""Seconds without accepting after the host had no descriptor left: the listener stays readable meanwhile."""
JOIN_PATIENCE: Final = 5.0


class Later:
    """The reply to an op that takes longer: it comes when something has happened, in whatever thread that is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answer: tuple[Reply, Sequence[int]] | None = None
        self._to: tuple[Connection, Serial] | None = None

    def answer(self, reply: Reply, fds: Sequence[int] = ()) -> None:
        """Reply, with descriptors that live on. Only the first call counts."""
        with self._lock:
            if self._answer is None:
                self._answer = (reply, fds)
                self._send()

    def bind(self, connection: "Connection", serial: Serial) -> None:
        """Say who asked; the control thread does, when the handler has returned."""
        with self._lock:
            self._to = (connection, serial)
            self._send()

    def _send(self) -> None:
        if self._answer is not None and self._to is not None:
            (reply, fds), (connection, serial) = self._answer, self._to
            connection.send(msgspec.structs.replace(reply, serial=serial), fds)


Answer: TypeAlias = Reply | tuple[Reply, Sequence[int]] | Later
"""What a handler returns: a reply, with the descriptors that go with it if any."""

_encode = msgspec.json.Encoder().encode
_decode_op: Final = msgspec.json.Decoder(Hello | Op)


class _Numbered(msgspec.Struct):
    """What can be known of an op that is otherwise none."""

    serial: Serial = 0


_decode_serial: Final = msgspec.json.Decoder(_Numbered)


class Handler(Protocol):
    """What the core does with ops. Called in the control thread, one op at a time."""

    def hello(self, connection: "Connection", hello: Hello) -> tuple[DomainInfo, Sequence[int]]:
        """Greet a device model of our version."""

    def handle(self, connection: "Connection", op: Op) -> Answer:
        """Perform an op; raise ControlError, or an OSError of the host's, to refuse it."""

    def gone(self, connection: "Connection") -> None:
        """Forget a device model that has been greeted and is no more."""

    def failed(self, error: BaseException) -> None:
        """End: the control thread cannot go on."""


@attrs.define(eq=False)
class Connection:
    """One device model, as the core sees it. `send` may be called from any thread."""

    sock: socket.socket
    wake: Callable[[], None]
    deadline: float = float("inf")
    """When it must have said hello, on the monotonic clock."""
    program: str = ""
    greeted: bool = False
    closed: bool = False
    _waits_for: "Connection | None" = None
    _queue: deque[tuple[bytes, Sequence[int]]] = attrs.field(factory=deque[tuple[bytes, Sequence[int]]])
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def send(self, message: Reply | Event, fds: Sequence[int] = ()) -> None:
        """Send, or queue what does not fit; who leaves too much unread is disconnected. Never blocks."""
        with self._lock:
            if self.closed:
                return
            data = _encode(message)
            self._flush()
            if not self._queue and self._sent(data, fds):
                return
            if self.closed:
                return
            try:
                self._queue.append((data, _duplicates(fds)))  # ours may be closed before they are sent
            except OSError:
                self._fail()
                return
            if len(self._queue) > MAX_QUEUED:
                self._fail()
            self.wake()

    def flush(self) -> bool:
        """Send what is queued, as far as it goes; whether something is left."""
        with self._lock:
            self._flush()
            return bool(self._queue)

    def wait_for(self, other: "Connection") -> None:
        """Hear no more ops from here until `other` has been sent all that is queued for it. In the control thread."""
        self._waits_for = other

    def waits(self) -> bool:
        """Whether ops from here have to wait still (`wait_for`)."""
        if self._waits_for is not None and not self._waits_for.flush():
            self._waits_for = None
        return self._waits_for is not None

    def close(self) -> None:
        """End the connection; its handler's `gone` follows in the control thread."""
        with self._lock:
            self._fail()

    def _flush(self) -> None:
        while self._queue and not self.closed:
            data, fds = self._queue[0]
            if not self._sent(data, fds):
                return
            close_all(fds)
            self._queue.popleft()

    def _sent(self, data: bytes, fds: Sequence[int]) -> bool:
        try:
            if fds:
                socket.send_fds(self.sock, [data], list(fds), socket.MSG_NOSIGNAL)
            else:
                self.sock.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:
            self._fail()
            return False
        return True

    def _fail(self) -> None:
        for _, fds in self._queue:
            close_all(fds)
        self._queue.clear()
        if not self.closed:
            self.closed = True
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)  # the selector sees the end, and closes


class ControlServer:
    """The core's end. It listens from construction on; `start` begins to answer."""

    def __init__(
        self,
        path: str,
        handler: Handler,
        *,
        version: int = VERSION,
        uid_of: Callable[[socket.socket], int] = peer_uid,
        hello_patience: float = HELLO_PATIENCE,
    ) -> None:
        """Bind `path`, taking it over from a core that died.

        Raises:
            IoreqError: another core listens there, or it cannot be bound; the text is for the user.

        """
        self.path = path
        self._handler = handler
        self._version = version
        self._uid_of = uid_of
        self._hello_patience = hello_patience
        self._connections: dict[Connection, None] = {}  # in the order in which they came
        self._accept_at: float | None = None
        self._full_since: float | None = None
        """Since when there has been no descriptor for a newcomer, while nobody was connected who could leave one."""
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        try:
            self._listener = _listen(path)
        except BaseException:
            self._selector.close()
            self._wake_read.close()
            self._wake_write.close()
            raise
        self._inode = os.stat(path).st_ino
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def broadcast(self, event: Event) -> None:
        """Tell every device model."""
        for connection in list(self._connections):
            if connection.greeted:
                connection.send(event)

    def close(self) -> None:
        """Stop answering, disconnect everybody and remove the socket. Handlers hear of no one's going."""
        self._stopping = True
        self._wake()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(JOIN_PATIENCE)
        for connection in self._connections:
            connection.flush()
            connection.close()
            connection.sock.close()
        self._connections.clear()
        for sock in (self._listener, self._wake_read, self._wake_write):
            sock.close()
        self._selector.close()
        with contextlib.suppress(OSError):
            if os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_write.send(b"\0")

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        except BaseException as error:  # noqa: BLE001  (whoever owns us ends, and says why)
            if not self._stopping:
                self._handler.failed(error)

    def _turn(self) -> None:
        """Wait, serve everybody who has something once, and see who is to be listened to from now on.

        A newcomer comes last: who left before it came has left room for it.
        """
        newcomer = False
        for key, events in self._selector.select(self._patience()):
            if key.fileobj is self._listener:
                newcomer = True
            elif key.fileobj is self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    self._wake_read.recv(4096)
            elif events & selectors.EVENT_READ and key.data in self._connections:
                self._receive(key.data)
        if newcomer:
            self._accept()
        now = time.monotonic()
        if self._accept_at is not None and self._accept_at <= now:
            self._accept_at = None
            self._selector.register(self._listener, selectors.EVENT_READ)
        for connection in list(self._connections):
            if connection.deadline <= now:
                log.warning("control.silent", seconds=self._hello_patience)
                self._drop(connection)
            else:
                self._watch(connection)

    def _patience(self) -> float | None:
        """Return the seconds until somebody's time is up; None for nobody's."""
        deadlines = [connection.deadline for connection in self._connections if not connection.greeted]
        if self._accept_at is not None:
            deadlines.append(self._accept_at)
        return max(min(deadlines) - time.monotonic(), 0) if deadlines else None

    def _watch(self, connection: Connection) -> None:
        """Listen to it, or wait until it reads what it was sent, or until its interrupts have been heard of."""
        wanted = selectors.EVENT_READ
        if connection.flush():
            wanted = selectors.EVENT_WRITE
        elif connection.waits():
            wanted = 0
        registered = self._selector.get_map().get(connection.sock)
        if registered is None:
            if wanted:
                self._selector.register(connection.sock, wanted, connection)
        elif not wanted:
            self._selector.unregister(connection.sock)
        elif registered.events != wanted:
            self._selector.modify(connection.sock, wanted, connection)

    def _note_full(self, error: OSError) -> None:
        """Take note that nobody can be accepted; raise `error` if that has lasted, with nobody connected."""
        now = time.monotonic()
        if self._connections:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now
        elif now - self._full_since > self._hello_patience:
            raise error

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                log.warning("control.cannot_accept", why=error.strerror)
                self._note_full(error)
                self._selector.unregister(self._listener)
                self._accept_at = time.monotonic() + ACCEPT_PAUSE
                self._make_room()
            return
        self._full_since = None
        try:
            check_uid(self._uid_of(sock), "a device model")
        except (IoreqError, OSError) as error:
            log.warning("control.refused_user", why=str(error))
            sock.close()
            return
        sock.setblocking(False)
        connection = Connection(sock, self._wake, time.monotonic() + self._hello_patience)
        if len(self._connections) >= MAX_CONNECTIONS and not self._make_room():
            connection.send(Error(errno.EUSERS, f"the core has {MAX_CONNECTIONS} connections already"))
            with contextlib.suppress(OSError):  # what is unread when we close would cost it the answer
                sock.shutdown(socket.SHUT_RD)
                sock.recv(MAX_MESSAGE)
            sock.close()
            return
        self._connections[connection] = None
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _make_room(self) -> bool:
        """Drop who has been silent longest; whether there was anyone."""
        for connection in self._connections:
            if not connection.greeted:
                self._drop(connection)
                return True
        return False

    def _receive(self, connection: Connection) -> None:
        try:
            data, ancillary, flags, _ = connection.sock.recvmsg(
                MAX_MESSAGE, socket.CMSG_SPACE(4 * MAX_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)
            return
        close_all(received_descriptors(ancillary))  # no op carries any
        if not data:
            self._drop(connection)
            return
        try:
            self._perform(connection, data, whole=not flags & socket.MSG_TRUNC)
        except IoreqError as error:
            code = errno.EPROTONOSUPPORT if isinstance(error, VersionMismatch) else errno.EPROTO
            self._refuse(connection, data, code, str(error))
            log.warning("control.disconnected", program=connection.program, why=str(error))
            self._drop(connection)
        except Exception as error:  # noqa: BLE001  (one connection's fault, whatever it is, ends that connection)
            why = f"{type(error).__name__}: {error}"
            log.error("control.failed", program=connection.program, why=why)  # noqa: TRY400  (a line, no page)
            self._drop(connection)

    def _perform(self, connection: Connection, data: bytes, *, whole: bool) -> None:
        """Do what a message says and reply.

        Raises:
            ProtocolError: the message is none.
            VersionMismatch: hello says another version.

        """
        if not whole:
            raise ProtocolError(f"a message of more than {MAX_MESSAGE} bytes")
        try:
            op = _decode_op.decode(data)
        except msgspec.ValidationError as error:
            self._refuse(connection, data, errno.EINVAL, str(error))
            return
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"not a message: {error}") from error
        if not isinstance(op, Hello) and not connection.greeted:
            raise ProtocolError("the first op must be hello")
        try:
            answer = self._answer(connection, op)
        except ControlError as error:
            connection.send(Error(error.errno, error.text[:MAX_TEXT], serial=op.serial))
        except OSError as error:
            text = f"the host refuses: {error.strerror or error}"
            connection.send(Error(error.errno or errno.EIO, text, serial=op.serial))
        else:
            if isinstance(answer, Later):
                answer.bind(connection, op.serial)
                return
            reply, fds = answer if isinstance(answer, tuple) else (answer, ())
            connection.send(msgspec.structs.replace(reply, serial=op.serial), fds)

    def _answer(self, connection: Connection, op: Hello | Op) -> Answer:
        if not isinstance(op, Hello):
            return self._handler.handle(connection, msgspec.structs.replace(op, serial=0))
        if connection.greeted:
            raise ControlError(errno.EALREADY, "hello was said already")
        if op.version != self._version:
            raise VersionMismatch(
                f"the core speaks version {self._version} of the device-model protocol, "
                f"{op.program or 'the device model'} version {op.version}"
            )
        connection.program = op.program
        answer = self._handler.hello(connection, op)
        connection.greeted = True
        connection.deadline = float("inf")
        return answer

    @staticmethod
    def _refuse(connection: Connection, data: bytes, code: int, text: str) -> None:
        """Answer what is no op, with its serial number if that can be told."""
        try:
            serial = _decode_serial.decode(data).serial
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            serial = 0
        connection.send(Error(code, text[:MAX_TEXT], serial=serial))

    def _drop(self, connection: Connection) -> None:
        connection.close()
        del self._connections[connection]
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.sock)
        connection.sock.close()
        if connection.greeted:
            self._handler.gone(connection)


def _duplicates(fds: Sequence[int]) -> list[int]:
    copies: list[int] = []
    try:
        for fd in fds:
            copies.append(os.dup(fd))  # noqa: PERF401  (those made before one fails are to be closed)
    except OSError:
        close_all(copies)
        raise
    return copies


def _listen(path: str) -> socket.socket:
    try:
        check_path(path)
    except IoreqError as error:
        raise IoreqError(f"cannot listen on {path or repr(path)}: {error}") from None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        os.fchmod(sock.fileno(), 0o600)  # Linux gives a bound socket's file this mode: nobody gets in between
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(path)
            sock.bind(path)
        sock.listen(MAX_CONNECTIONS)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise IoreqError(f"cannot listen on {path}: {error.strerror or error}") from error
    except IoreqError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove the socket of a core that died; raise if one lives, or if it is no socket."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise IoreqError(f"cannot listen on {path}: there is something else than a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        else:
            raise IoreqError(f"cannot listen on {path}: another core listens there")
