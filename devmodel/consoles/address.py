"""Where a serial line's far end is, as users write it: `telnet:127.0.0.1:4444`, `unix:guest.sock,mode=0660`."""

import os
import re
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from devmodel import ConfigError
from ioreq.user_input import with_options

Kind: TypeAlias = Literal["tcp", "telnet", "unix", "pty", "file", "stdio", "null"]
OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "tcp": ("remote", "password-file"),
    "telnet": ("remote", "password-file"),
    "unix": ("mode", "password-file"),
}
ALLOWED: Final = "tcp:HOST:PORT, telnet:HOST:PORT, unix:PATH, pty, file:PATH, stdio, null"
SWITCH: Final = {"on": True, "off": False}
PRIVATE: Final = 0o600
_PORT: Final = re.compile(r"\d{1,5}", re.ASCII)
_MODE: Final = re.compile(r"0?[0-7]{3}", re.ASCII)


class Address(msgspec.Struct, frozen=True):
    """A far end. `host` and `port` are of tcp and telnet, `path` of unix and file."""

    kind: Kind
    host: str = ""
    port: int = 0
    path: str = ""
    remote: bool = False
    """Whether it may listen on another address than a loopback one."""
    password_file: str = ""
    """A client types the first line of this file before it is let in."""
    mode: int = PRIVATE
    """Of a Unix socket: who may connect is who may write to it."""

    def __str__(self) -> str:
        """Return it without its options, as a client would be told."""
        if self.kind in {"tcp", "telnet"}:
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"{self.kind}:{host}:{self.port}"
        return f"{self.kind}:{self.path}" if self.path else self.kind


STDIO: Final = Address("stdio")


def parse(text: str) -> Address:
    """Return what a user has written.

    Raises:
        ConfigError: it is none of the far ends that there are.

    """
    kind, colon, rest = text.partition(":")
    if not colon:
        kind, comma, rest = text.partition(",")
        rest = comma + rest
    if kind == "terminal":
        kind = "stdio"  # what it was called first
    if kind not in get_args(Kind):
        raise ConfigError(f"'{text}'; allowed: {ALLOWED}")
    where, options = with_options(rest)
    for name in options:
        allowed = OPTIONS.get(kind, ())
        if name not in allowed:
            what = f"allowed: {', '.join(allowed)}" if allowed else f"{kind} has none"
            raise ConfigError(f"'{text}': unknown option '{name}'; {what}")
    password_file = options.get("password-file", "")
    if "password-file" in options and not password_file:
        raise ConfigError(f"'{text}': password-file needs a file")
    match kind:
        case "tcp" | "telnet":
            host, port = host_port(where)
            remote = SWITCH.get(options.get("remote", "off"))
            if remote is None:
                raise ConfigError(f"'{text}': remote is on or off")
            return Address(kind, host=host, port=port, remote=remote, password_file=password_file)
        case "unix":
            mode = options.get("mode", "0600")
            if not _MODE.fullmatch(mode):
                raise ConfigError(f"'{text}': a mode is three octal digits, for example 0660")
            return Address("unix", path=_path(text, where), mode=int(mode, 8), password_file=password_file)
        case "file":
            return Address("file", path=_path(text, where))
        case "pty":
            return Address("pty")
        case "null":
            return Address("null")
        case _:
            return STDIO


def parse_listening(text: str) -> Address:
    """Return where something else listens: HOST:PORT or unix:PATH, with the options of these.

    Raises:
        ConfigError: it is neither.

    """
    return parse(text if text.startswith("unix:") else f"tcp:{text}")


def host_port(text: str) -> tuple[str, int]:
    """Split HOST:PORT; the host may be an IPv6 address in brackets, the port 0 to have one chosen."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not _PORT.fullmatch(port) or int(port) > 0xFFFF:
        raise ConfigError(f"'{text}' is not HOST:PORT")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ConfigError(f"'{text}' is not HOST:PORT: a host's labels have 1 to 63 letters") from None
    return host, int(port)


def _path(text: str, path: str) -> str:
    if not path or "\0" in path:
        raise ConfigError(f"'{text}' needs a path")
    return path


def spelled(address: Address, folder: str) -> str:
    """Return how a user would write it, its files being found from `folder`."""

    def found(path: str) -> str:
        return os.path.join(folder, path).replace(",", ",,")

    text = str(msgspec.structs.replace(address, path=found(address.path) if address.path else ""))
    if address.remote:
        text += ",remote=on"
    if address.kind == "unix":
        text += f",mode={address.mode:04o}"
    if address.password_file:
        text += f",password-file={found(address.password_file)}"
    return text
