"""A board's state as bytes, for a successor of another version or another process.

Chips remember plain data in records of attrs, so that one encoder serves all. Each record is saved with its class's
`VERSION` (1 where none is given); a chip whose record has changed its meaning counts up, and what an older or newer
program saved is then refused by name. A new field with a default, or one that is gone, needs no new version.
"""

from collections import deque
from collections.abc import Mapping
from typing import Annotated, Any, Final

import attrs
import msgspec

from devmodel import ConfigError, DevmodelError

FORMAT: Final = 1


class _Chip(msgspec.Struct, array_like=True):
    version: int
    state: Any


_Time = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class _Envelope(msgspec.Struct):
    format: int
    time: _Time
    host_time: _Time
    whole: bool
    server: Annotated[int, msgspec.Meta(ge=0)]
    performed: Annotated[int, msgspec.Meta(ge=0)]
    chips: dict[str, tuple[int, msgspec.Raw]]


@attrs.frozen
class Saved:
    """The state of a board at one time."""

    time: int
    """Guest time in ns."""
    host_time: int
    """The host's monotonic time then, in ns."""
    whole: bool
    """Nothing has happened since: it was handed over, and not left by one that died."""
    server: int
    """The number of its ioreq server."""
    performed: int
    """How many slots of that one's ring had been performed."""
    chips: Mapping[str, tuple[int, bytes]]
    """By chip: the version of its record, and the record."""

    def states(self, types: Mapping[str, type]) -> dict[str, Any]:
        """Return each chip's record as one of its class.

        Raises:
            DevmodelError: one is of another version, or cannot be read; chips that `types` lacks are left out.

        """
        return {name: self.state(name, types[name]) for name in self.chips if name in types}

    def state(self, name: str, kind: type) -> Any:
        """Return one chip's record as one of its class; None if there is none.

        Raises:
            DevmodelError: it is of another version, or cannot be read.

        """
        if name not in self.chips:
            return None
        version, data = self.chips[name]
        if version != (known := _version(kind)):
            raise DevmodelError(f"the state of '{name}' is of version {version}; known here: {known}")
        try:
            return msgspec.msgpack.decode(data, type=kind, dec_hook=_from_plain)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise DevmodelError(f"the state of '{name}' cannot be read: {error}") from error


def check(name: str, state: Any) -> None:
    """See that a chip's record can be saved, and comes back as what it is.

    Raises:
        ConfigError: it cannot, or does not.

    """
    try:
        again = msgspec.msgpack.decode(_encode(state), type=type(state), dec_hook=_from_plain)
    except (msgspec.MsgspecError, NotImplementedError, ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"{name}: its state cannot be saved, being no plain data: {error}") from error
    if again != state:
        raise ConfigError(
            f"{name}: its state does not come back as it was saved: {state!r} becomes {again!r}"
        )


def pack(
    states: Mapping[str, Any], *, time: int, host_time: int, whole: bool, server: int, performed: int
) -> bytes:
    """Return the records of a board's chips as bytes: see `Saved` for what goes with them."""
    chips = {name: _Chip(_version(type(state)), state) for name, state in states.items()}
    return _encode(
        {
            "format": FORMAT,
            "time": time,
            "host_time": host_time,
            "whole": whole,
            "server": server,
            "performed": performed,
            "chips": chips,
        }
    )


def as_plain(state: Any) -> dict[str, Any]:
    """Return one chip's record as JSON has it: objects, lists and numbers, with bytes in base64."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(state, enc_hook=_to_plain))
    return plain


def unpack(data: bytes) -> Saved:
    """Return what `pack` made.

    Raises:
        DevmodelError: it is something else.

    """
    try:
        envelope = msgspec.msgpack.decode(data, type=_Envelope)
    except msgspec.MsgspecError as error:
        raise DevmodelError(f"the state that the core keeps cannot be read: {error}") from error
    if envelope.format != FORMAT:
        raise DevmodelError(
            f"the state that the core keeps is of format {envelope.format}; known here: {FORMAT}"
        )
    chips = {name: (version, bytes(state)) for name, (version, state) in envelope.chips.items()}
    return Saved(
        envelope.time, envelope.host_time, envelope.whole, envelope.server, envelope.performed, chips
    )


def _version(state: type) -> int:
    return int(getattr(state, "VERSION", 1))


def _to_plain(value: object) -> object:
    if isinstance(value, deque):
        return list(value)
    raise NotImplementedError(f"{type(value).__name__} in a chip's state")


def _from_plain(wanted: Any, value: Any) -> Any:
    if wanted is deque or getattr(wanted, "__origin__", None) is deque:
        return deque(value)
    raise NotImplementedError(f"{wanted} in a chip's state")


_encode = msgspec.msgpack.Encoder(enc_hook=_to_plain).encode
