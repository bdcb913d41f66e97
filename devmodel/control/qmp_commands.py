"""What QMP's commands do here: those of QEMU's that are about the same thing, with its names and results."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

import attrs
import msgspec

from devmodel import VERSION, DevmodelError
from devmodel.control import human, memory, messages, probe
from devmodel.control.access import Access, drives, found, let_run, paused, read_memory
from devmodel.control.messages import Info, MouseAction
from devmodel.devices.mouse import BUTTONS

HOLD: Final = 100
"""Milliseconds that send-key holds keys, as in QEMU."""


class CommandFailed(DevmodelError):  # noqa: N818  (it is an answer)
    """A command cannot be done; `kind` is the error's class on the wire."""

    def __init__(self, text: str, kind: str = "GenericError") -> None:
        super().__init__(text)
        self.kind = kind


def version() -> dict[str, Any]:
    """Return the program's version as three numbers, where QEMU has its own."""
    numbers = [int(part) for part in VERSION.split(".") if part.isdigit()]
    major, minor, micro = (*numbers, 0, 0, 0)[:3]
    return {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": f"devmodel {VERSION}"}


def _hyphened(name: str) -> str:
    return name.replace("_", "-")


class _Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_hyphened):
    """A command's arguments, with QMP's hyphens."""


class Nothing(_Arguments, frozen=True):
    """None."""


class Device(_Arguments, frozen=True):
    """`eject`: a drive by either name."""

    device: str = ""
    id: str = ""
    force: bool = False


class Medium(_Arguments, frozen=True):
    """`blockdev-change-medium`."""

    filename: str
    device: str = ""
    id: str = ""
    format: Literal["raw"] = "raw"
    force: bool = False
    read_only_mode: Literal["retain", "read-only", "read-write"] = "retain"


class Dump(_Arguments, frozen=True):
    """`screendump`; there is one screen."""

    filename: str
    device: str = ""
    head: Annotated[int, msgspec.Meta(ge=0, le=0)] = 0
    format: Literal["ppm", "png"] = "ppm"


class KeyValue(_Arguments, frozen=True):
    """A key, by QEMU's name (`qcode`); its numbers are not known here."""

    type: Literal["qcode"]
    data: str


class Keys(_Arguments, frozen=True):
    """`send-key`: held down together."""

    keys: Annotated[list[KeyValue], msgspec.Meta(min_length=1, max_length=16)]
    hold_time: Annotated[int, msgspec.Meta(ge=0, le=messages.MAX_HOLD)] = HOLD


class Line(_Arguments, frozen=True):
    """`human-monitor-command`."""

    command_line: str
    cpu_index: int = 0


class Saved(_Arguments, frozen=True):
    """`memsave` and `pmemsave`."""

    val: Annotated[int, msgspec.Meta(ge=0, lt=1 << 52)]
    size: Annotated[int, msgspec.Meta(gt=0, le=human.MOST_SAVED)]
    filename: str
    cpu_index: int = 0


class InputValue(_Arguments, frozen=True):
    """What happens to a key, a button or an axis."""

    key: KeyValue | None = None
    down: bool = False
    button: str = ""
    axis: Literal["x", "y", ""] = ""
    value: Annotated[int, msgspec.Meta(ge=-messages.MAX_MOVE, le=messages.MAX_MOVE)] = 0


class InputEvent(_Arguments, frozen=True):
    """One event of `input-send-event`."""

    type: Literal["key", "btn", "rel"]
    data: InputValue


class Input(_Arguments, frozen=True):
    """`input-send-event`."""

    events: Annotated[list[InputEvent], msgspec.Meta(max_length=messages.MAX_KEYS)]
    device: str = ""
    head: int = 0


@attrs.frozen
class Command:
    """A command: what its arguments are, and who does it."""

    arguments: type[Any]
    do: Callable[["Commands", Any], Awaitable[Any]]


class Commands:
    """Does commands to one machine. `tell` tells clients of events that a command brings about."""

    def __init__(self, access: Access, tell: Callable[..., None] = lambda *_, **__: None) -> None:
        self.access = access
        self._tell = tell
        self._human = human.Human(access)

    # -- what there is ------------------------------------------------------------------------------------

    async def query_version(self, _: Nothing) -> dict[str, Any]:
        """Return the version that the greeting has."""
        return version()

    async def query_commands(self, _: Nothing) -> list[dict[str, str]]:
        """Return the names of all commands."""
        return [{"name": name} for name in ("qmp_capabilities", *COMMANDS)]

    async def query_name(self, _: Nothing) -> dict[str, str]:
        """Return the machine's name."""
        name = (await self.access.ask(Info())).machine
        return {"name": name} if name else {}

    async def query_status(self, _: Nothing) -> dict[str, Any]:
        """Return whether the vCPUs run."""
        held = await paused(self.access)
        return {"running": not held, "status": "paused" if held else "running"}

    async def query_cpus(self, _: Nothing) -> list[dict[str, Any]]:
        """Return the vCPUs."""
        pid = (await self.access.ask(Info())).pid
        return [{"cpu-index": 0, "qom-path": "/machine/vcpu0", "thread-id": pid, "target": "i386"}]

    async def query_kvm(self, _: Nothing) -> dict[str, bool]:
        """Say that the processor is emulated."""
        return {"enabled": False, "present": False}

    async def query_memory(self, _: Nothing) -> dict[str, int]:
        """Return how much RAM the guest has."""
        return {"base-memory": (await self.access.ask(Info())).memory}

    async def query_chardev(self, _: Nothing) -> list[dict[str, Any]]:
        """Return the serial consoles."""
        answers = await self.access.ask_all(Info())
        consoles = [console for answer in answers for console in answer.consoles]
        return [
            {"label": f"serial{number}", "filename": console or "null", "frontend-open": True}
            for number, console in enumerate(consoles)
        ]

    async def query_block(self, _: Nothing) -> list[dict[str, Any]]:
        """Return the drives, and what is in them."""
        return [_block(drive) for drive in await drives(self.access)]

    # -- the machine --------------------------------------------------------------------------------------

    async def stop(self, _: Nothing) -> dict[str, Any]:
        """Hold the vCPUs."""
        await found(self.access, probe.Pause())
        return {}

    async def cont(self, _: Nothing) -> dict[str, Any]:
        """Let them run on."""
        await let_run(self.access)
        return {}

    async def system_reset(self, _: Nothing) -> dict[str, Any]:
        """Press the reset button."""
        await found(self.access, probe.Restart())
        return {}

    async def system_powerdown(self, _: Nothing) -> dict[str, Any]:
        """Press the power button; that a guest does not listen is no error, as in QEMU."""
        await self.access.ask(messages.PowerButton())
        return {}

    async def inject_nmi(self, _: Nothing) -> dict[str, Any]:
        """Press the NMI button."""
        await found(self.access, probe.Nmi())
        return {}

    async def quit(self, _: Nothing) -> dict[str, Any]:
        """Switch the machine off."""
        await found(self.access, probe.Quit())
        return {}

    # -- discs, screen, memory, keys ----------------------------------------------------------------------

    async def change_medium(self, arguments: Medium) -> dict[str, Any]:
        """Put an image into a drive."""
        drive = await self._drive(arguments.device or arguments.id)
        wanted = {"read-only": True, "read-write": False}.get(arguments.read_only_mode)
        if wanted is not None and wanted != (drive.kind == "cdrom"):
            raise CommandFailed(f"Device '{drive.name}' has no read-only-mode '{arguments.read_only_mode}'")
        if drive.locked:
            await human.eject(self.access, drive.name, force=arguments.force)
        await human.insert(self.access, drive.name, arguments.filename)
        self._tell("DEVICE_TRAY_MOVED", device=drive.name, id=drive.name, **{"tray-open": False})
        return {}

    async def eject(self, arguments: Device) -> dict[str, Any]:
        """Take out what is in a drive."""
        drive = await self._drive(arguments.device or arguments.id)
        await human.eject(self.access, drive.name, force=arguments.force)
        self._tell("DEVICE_TRAY_MOVED", device=drive.name, id=drive.name, **{"tray-open": True})
        return {}

    async def _drive(self, name: str) -> probe.Drive:
        if not name:
            raise CommandFailed("Need exactly one of 'device' and 'id'")
        try:
            return await human.drive_named(self.access, name)
        except DevmodelError as error:
            raise CommandFailed(str(error), "DeviceNotFound") from error

    async def screendump(self, arguments: Dump) -> dict[str, Any]:
        """Write the screen to a file."""
        await human.screendump(self.access, arguments.filename, arguments.format)
        return {}

    async def send_key(self, arguments: Keys) -> dict[str, Any]:
        """Hold keys down together."""
        combination = "-".join(key.data for key in arguments.keys)
        await self.access.ask(messages.Key(keys=[combination], hold=arguments.hold_time))
        return {}

    async def input_event(self, arguments: Input) -> dict[str, Any]:
        """Press and release keys and buttons, and move the mouse."""
        actions: list[MouseAction] = []
        for event in arguments.events:
            value = event.data
            match event.type:
                case "key":
                    if value.key is None:
                        raise CommandFailed("Parameter 'key' is missing")
                    way = messages.Press(key=value.key.data, pressed=value.down)
                    await self._flush(actions)
                    await self.access.ask(way)
                case "btn" if value.button in BUTTONS:
                    name = value.button
                    actions.append(MouseAction(press=name) if value.down else MouseAction(release=name))
                case "btn" if value.button in {"wheel-up", "wheel-down"}:
                    turn = (-1 if value.button == "wheel-up" else 1) * value.down
                    actions.append(MouseAction(wheel=turn))
                case "btn":
                    raise CommandFailed(f"Parameter 'button' does not accept value '{value.button}'")
                case _:
                    x, y = (value.value, 0) if value.axis == "x" else (0, value.value)
                    actions.append(MouseAction(right=x, down=y))
        await self._flush(actions)
        return {}

    async def _flush(self, actions: list[MouseAction]) -> None:
        if actions:
            await self.access.ask(messages.Mouse(actions=list(actions)))
            actions.clear()

    async def memsave(self, arguments: Saved) -> dict[str, Any]:
        """Write memory to a file, by linear address."""
        context = (await found(self.access, probe.Registers(vcpu=arguments.cpu_index))).registers
        assert context is not None

        async def read(address: int, length: int) -> bytes:
            return await read_memory(self.access, address, length)

        data = await memory.read_linear(read, context, arguments.val, arguments.size)
        await human.write_file(arguments.filename, data)
        return {}

    async def pmemsave(self, arguments: Saved) -> dict[str, Any]:
        """Write memory to a file, by guest-physical address."""
        data = await read_memory(self.access, arguments.val, arguments.size)
        await human.write_file(arguments.filename, data)
        return {}

    async def human_command(self, arguments: Line) -> str:
        """Do a line as `devmodel monitor` does; what is wrong with it is what it prints, as in QEMU."""
        try:
            text = await self._human.do(arguments.command_line)
        except DevmodelError as error:
            text = f"{error}\n"
        return text.replace("\n", "\r\n")


def _block(drive: probe.Drive) -> dict[str, Any]:
    removable = drive.kind != "disk"
    shown: dict[str, Any] = {
        "device": drive.name,
        "qdev": drive.name,
        "type": "unknown",
        "removable": removable,
        "locked": drive.locked,
    }
    if removable:
        shown["tray_open"] = False
    if drive.path is not None:
        shown["inserted"] = {
            "file": drive.path,
            "drv": "raw",
            "ro": drive.readonly,
            "image": {"filename": drive.path, "format": "raw", "virtual-size": drive.bytes},
        }
    return shown


COMMANDS: Final = {
    "query-version": Command(Nothing, Commands.query_version),
    "query-commands": Command(Nothing, Commands.query_commands),
    "query-name": Command(Nothing, Commands.query_name),
    "query-status": Command(Nothing, Commands.query_status),
    "query-cpus-fast": Command(Nothing, Commands.query_cpus),
    "query-kvm": Command(Nothing, Commands.query_kvm),
    "query-memory-size-summary": Command(Nothing, Commands.query_memory),
    "query-chardev": Command(Nothing, Commands.query_chardev),
    "query-block": Command(Nothing, Commands.query_block),
    "stop": Command(Nothing, Commands.stop),
    "cont": Command(Nothing, Commands.cont),
    "system_reset": Command(Nothing, Commands.system_reset),
    "system_powerdown": Command(Nothing, Commands.system_powerdown),
    "inject-nmi": Command(Nothing, Commands.inject_nmi),
    "quit": Command(Nothing, Commands.quit),
    "blockdev-change-medium": Command(Medium, Commands.change_medium),
    "eject": Command(Device, Commands.eject),
    "screendump": Command(Dump, Commands.screendump),
    "send-key": Command(Keys, Commands.send_key),
    "input-send-event": Command(Input, Commands.input_event),
    "memsave": Command(Saved, Commands.memsave),
    "pmemsave": Command(Saved, Commands.pmemsave),
    "human-monitor-command": Command(Line, Commands.human_command),
}
"""By name; qmp_capabilities is the session's."""
