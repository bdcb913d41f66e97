"""The core's end of the domain socket: one thread with a selector for all connections, which calls a `Handler`."""

import contextlib
import errno
import os
import selectors
import socket
import stat
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

import attrs
import msgspec
import structlog

from ioreq import VERSION, ControlError, IoreqError, ProtocolError, VersionMismatch
from ioreq.control import MAX_DESCRIPTORS, MAX_MESSAGE, check_uid, close_all, peer_uid, received_descriptors
from ioreq.messages import DomainInfo, Error, Event, Hello, Op, Reply

log = structlog.get_logger()

MAX_QUEUED: Final = 256  # messages that a device model may leave unread

Answer: TypeAlias = Reply | tuple[Reply, Sequence[int]]
"""What a handler returns: a reply, with the descriptors that go with it if any."""

_encode = msgspec.json.Encoder().encode
_decode_op: Final = msgspec.json.Decoder(Hello | Op)


class Handler(Protocol):
    """What the core does with ops. Called in the control thread, one op at a time."""

    def hello(self, connection: "Connection", hello: Hello) -> tuple[DomainInfo, Sequence[int]]:
        """Greet a device model of our version."""

    def handle(self, connection: "Connection", op: Op) -> Answer:
        """Perform an op; raise ControlError to refuse it."""

    def gone(self, connection: "Connection") -> None:
        """Forget a device model that has been greeted and is no more."""


@attrs.define(eq=False)
class Connection:
    """One device model, as the core sees it. `send` may be called from any thread."""

    sock: socket.socket
    wake: Callable[[], None]
    program: str = ""
    greeted: bool = False
    closed: bool = False
    _queue: deque[tuple[bytes, Sequence[int]]] = attrs.field(factory=deque[tuple[bytes, Sequence[int]]])
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def send(self, message: Reply | Event, fds: Sequence[int] = ()) -> None:
        """Send, or queue what does not fit; who leaves too much unread is disconnected. Never blocks."""
        with self._lock:
            if self.closed:
                return
            self._queue.append((_encode(message), fds))
            self._flush()
            if len(self._queue) > MAX_QUEUED:
                self._fail()
            if self._queue:
                self.wake()

    def flush(self) -> bool:
        """Send what is queued, as far as it goes; whether something is left."""
        with self._lock:
            self._flush()
            return bool(self._queue)

    def close(self) -> None:
        """End the connection; its handler's `gone` follows in the control thread."""
        with self._lock:
            self._fail()

    def _flush(self) -> None:
        while self._queue and not self.closed:
            data, fds = self._queue[0]
            try:
                if fds:
                    socket.send_fds(self.sock, [data], list(fds), socket.MSG_NOSIGNAL)
                else:
                    self.sock.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self._fail()
                return
            self._queue.popleft()

    def _fail(self) -> None:
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
    ) -> None:
        """Bind `path`, taking it over from a core that died.

        Raises:
            IoreqError: another core listens there, or it cannot be bound; the text is for the user.

        """
        self.path = path
        self._handler = handler
        self._version = version
        self._uid_of = uid_of
        self._connections: set[Connection] = set()
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
            self._thread.join()
        for connection in self._connections:
            connection.flush()
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
        while not self._stopping:
            for key, events in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        self._wake_read.recv(4096)
                elif events & selectors.EVENT_READ:
                    self._receive(key.data)
            for connection in list(self._connections):
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.flush() else 0)
                self._selector.modify(connection.sock, wanted, connection)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        uid = self._uid_of(sock)
        try:
            check_uid(uid, "a device model")
        except IoreqError as error:
            log.warning("control.refused_user", why=str(error))
            sock.close()
            return
        sock.setblocking(False)
        connection = Connection(sock, self._wake)
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)

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
            if flags & socket.MSG_TRUNC:
                raise ProtocolError(f"a message of more than {MAX_MESSAGE} bytes")
            answer = self._perform(connection, data)
        except ControlError as error:
            connection.send(Error(error.errno, error.text))
        except IoreqError as error:
            connection.send(Error(errno.EPROTO, str(error)))
            log.warning("control.disconnected", program=connection.program, why=str(error))
            self._drop(connection)
        else:
            reply, fds = answer if isinstance(answer, tuple) else (answer, ())
            connection.send(reply, fds)

    def _perform(self, connection: Connection, data: bytes) -> Answer:
        try:
            op = _decode_op.decode(data)
        except msgspec.ValidationError as error:
            raise ControlError(errno.EINVAL, str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProtocolError(f"not a message: {error}") from error
        if isinstance(op, Hello):
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
            return answer
        if not connection.greeted:
            raise ProtocolError("the first op must be hello")
        return self._handler.handle(connection, op)

    def _drop(self, connection: Connection) -> None:
        connection.closed = True
        self._connections.discard(connection)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.sock)
        connection.sock.close()
        if connection.greeted:
            self._handler.gone(connection)


def _listen(path: str) -> socket.socket:
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
        sock.listen(16)
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
