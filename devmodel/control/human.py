"""The language of `devmodel monitor`, and of QMP's human-monitor-command: QEMU's words where it is the same thing."""

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import attrs
import msgspec
import trio

from devmodel import ConfigError, DevmodelError
from devmodel.control import asking, memory, messages, probe, registers
from devmodel.control.access import Access, drives, found, let_run, paused, read_memory
from devmodel.control.messages import Info, MouseAction
from devmodel.devices.mouse import BUTTONS
from devmodel.display.render import MOST_COLUMNS
from devmodel.service import stats
from ioreq.messages import VcpuContext
from ioreq.user_input import create, size_in_bytes

MOST_SAVED: Final = 1 << 32
_TERM: Final = re.compile(r"\s*([+-]?)\s*(\$?\w+)", re.ASCII)
_COLUMNS: Final = 80
_WIDTHS: Final = {1: "b", 2: "w", 4: "l"}

Handler = Callable[["Human", list[str]], Awaitable[str]]


@attrs.frozen
class Word:
    """A command: its arguments as help shows them, what it does, and who does it."""

    arguments: str
    help: str
    handler: Handler
    least: int = 0
    most: int = 0


class Human:
    """Does what lines of text say to one machine."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._pressed: frozenset[str] = frozenset()

    async def do(self, line: str) -> str:
        """Do one line, and return what it prints.

        Raises:
            DevmodelError: it cannot be done, or is no command; the message is one line.

        """
        words = line.split()
        if not words:
            return ""
        name, arguments = words[0], words[1:]
        if (place := name.find("/")) > 0:  # x/4xw is x /4xw
            name, arguments = name[:place], [name[place:], *arguments]
        name = ALIASES.get(name, name)
        word = WORDS.get(name)
        if word is None:
            raise ConfigError(f"no command '{name}'; 'help' lists them")
        if not word.least <= len(arguments) <= word.most:
            raise ConfigError(f"{name}: {_usage(name, word)}")
        return await word.handler(self, arguments)

    # -- what is asked for --------------------------------------------------------------------------------

    async def help(self, arguments: list[str]) -> str:
        """List the commands, or explain one."""
        if arguments and arguments[0] not in {*WORDS, *ALIASES}:
            raise ConfigError(f"no command '{arguments[0]}'; 'help' lists them")
        names = [ALIASES.get(arguments[0], arguments[0])] if arguments else list(WORDS)
        text = "".join(
            f"{(name + ' ' + WORDS[name].arguments).strip():<38} {WORDS[name].help}\n" for name in names
        )
        if names == ["info"]:
            text += "".join(f"info {name:<33} {word.help}\n" for name, word in INFO.items())
        return text

    async def info(self, arguments: list[str]) -> str:
        """Show something: one of `INFO`."""
        if not arguments or arguments[0] not in INFO:
            given = f"'{arguments[0]}'" if arguments else "what?"
            raise ConfigError(f"info {given}; allowed: {', '.join(INFO)}")
        word = INFO[arguments[0]]
        if not word.least <= len(arguments) - 1 <= word.most:
            raise ConfigError(f"info {arguments[0]}: {_usage('info ' + arguments[0], word)}")
        return await word.handler(self, arguments[1:])

    async def version(self, _: list[str]) -> str:
        """Say which program serves."""
        return (await self.access.ask(Info())).program + "\n"

    async def name(self, _: list[str]) -> str:
        """Say what the machine is called."""
        return ((await self.access.ask(Info())).machine or "without a name") + "\n"

    async def status(self, _: list[str]) -> str:
        """Say whether the vCPUs run."""
        return f"VM status: {'paused' if await paused(self.access) else 'running'}\n"

    async def registers(self, _: list[str]) -> str:
        """Show the registers."""
        return registers.as_text(await self._context())

    async def block(self, _: list[str]) -> str:
        """Show the drives."""
        return "".join(map(_drive_line, await drives(self.access))) or "no drives\n"

    async def chardev(self, _: list[str]) -> str:
        """Show where consoles listen."""
        answers = await self.access.ask_all(Info())
        consoles = [console for answer in answers for console in answer.consoles]
        return "".join(f"serial{number}: {console or '-'}\n" for number, console in enumerate(consoles))

    async def devices(self, _: list[str]) -> str:
        """Show the chips by name."""
        answers = await self.access.ask_all(probe.Devices())
        chips = [chip for answer in answers if answer.found for chip in answer.found.chips or ()]
        return "".join(f"{chip.name:<12} {chip.type}\n" for chip in chips)

    async def mtree(self, _: list[str]) -> str:
        """Show what is mapped where."""
        answers = await self.access.ask_all(probe.Devices())
        every = [r for answer in answers if answer.found for r in answer.found.ranges or ()]
        text = ""
        for space, digits in (("memory", 16), ("port", 4)):
            text += f"{space}\n"
            for r in sorted((r for r in every if r.space == space), key=lambda r: (r.first, r.last)):
                text += f"  {r.first:0{digits}x}-{r.last:0{digits}x}: {r.name}\n"
        return text

    async def state(self, arguments: list[str]) -> str:
        """Show what a chip remembers."""
        state = (await found(self.access, probe.State(arguments[0]))).state
        return msgspec.json.format(msgspec.json.encode(state), indent=2).decode() + "\n"

    async def statistics(self, _: list[str]) -> str:
        """Show what `devmodel stats` shows."""
        answers = await self.access.ask_all(messages.Stats())
        return stats.table(stats.report([answer.stats for answer in answers if answer.stats is not None]))

    # -- the machine --------------------------------------------------------------------------------------

    async def stop(self, _: list[str]) -> str:
        """Hold the vCPUs."""
        await found(self.access, probe.Pause())
        return ""

    async def cont(self, _: list[str]) -> str:
        """Let them run on."""
        await let_run(self.access)
        return ""

    async def reset(self, _: list[str]) -> str:
        """Press the reset button."""
        await found(self.access, probe.Restart())
        return ""

    async def nmi(self, _: list[str]) -> str:
        """Press the NMI button."""
        await found(self.access, probe.Nmi())
        return ""

    async def quit(self, _: list[str]) -> str:
        """Switch the machine off."""
        await found(self.access, probe.Quit())
        return ""

    # -- memory and ports ---------------------------------------------------------------------------------

    async def examine(self, arguments: list[str], *, physical: bool) -> str:
        """Dump memory, by linear or guest-physical address."""
        format_, where = _formatted(arguments)
        context = await self._context()
        address = self._number(where, context)
        length = format_.count * format_.size
        if physical:
            data = await read_memory(self.access, address, length)
        else:
            data = await memory.read_linear(partial(read_memory, self.access), context, address, length)
        return format_.lines(address, data, 16 if physical else 8)

    async def save_memory(self, arguments: list[str], *, physical: bool) -> str:
        """Write memory to a file."""
        context = await self._context()
        address = self._number(arguments[0], context)
        length = size_in_bytes(arguments[1]) or self._number(arguments[1], context)
        if not 0 < length <= MOST_SAVED:
            raise ConfigError(f"{length} bytes; allowed: 1 to {MOST_SAVED}")
        if physical:
            data = await read_memory(self.access, address, length)
        else:
            data = await memory.read_linear(partial(read_memory, self.access), context, address, length)
        await write_file(arguments[2], data)
        return ""

    async def print(self, arguments: list[str]) -> str:
        """Show what an expression is."""
        format_, where = _formatted(arguments)
        value = self._number(where, await self._context())
        return format_.show(value & (1 << 8 * format_.size) - 1) + "\n"

    async def read_port(self, arguments: list[str]) -> str:
        """Read a port."""
        format_, where = _formatted(arguments)
        port = self._number(where, await self._context())
        size = min(format_.size, 4) if arguments[0].startswith("/") else 1
        value = (await found(self.access, probe.Inp(port=_port(port), size=size))).value or 0
        return f"port{_WIDTHS[size]}[0x{port:04x}] = {value:#0{2 + 2 * size}x}\n"

    async def write_port(self, arguments: list[str]) -> str:
        """Write a port."""
        size = 1
        if arguments[0].startswith("/"):
            size = min(memory.Format.parse(arguments[0]).size, 4)
            arguments = arguments[1:]
        if len(arguments) != 2:
            raise ConfigError(f"o: {_usage('o', WORDS['o'])}")
        context = await self._context()
        port, value = (self._number(text, context) for text in arguments)
        if not 0 <= value < 1 << 8 * size:
            raise ConfigError(f"{value:#x} does not fit into {size} byte{'s' * (size > 1)}")
        await found(self.access, probe.Outp(port=_port(port), value=value, size=size))
        return ""

    # -- keyboard, mouse, screen, discs -------------------------------------------------------------------

    async def sendkey(self, arguments: list[str]) -> str:
        """Type one combination of keys."""
        hold = self._small(arguments[1], messages.MAX_HOLD) if len(arguments) > 1 else 0
        await self.access.ask(messages.Key(keys=[arguments[0]], hold=hold))
        return ""

    async def mouse_move(self, arguments: list[str]) -> str:
        """Move the mouse, and turn its wheel."""
        moves = [self._small(text, messages.MAX_MOVE, negative=True) for text in arguments]
        right, down, wheel = [*moves, 0][:3]
        await self.access.ask(messages.Mouse(actions=[MouseAction(right=right, down=down, wheel=wheel)]))
        return ""

    async def mouse_button(self, arguments: list[str]) -> str:
        """Press the buttons whose bits are 1 (left, right, middle from bit 0), and let go of the others."""
        mask = self._small(arguments[0], 7)
        wanted = frozenset(name for bit, name in enumerate(("left", "right", "middle")) if mask >> bit & 1)
        actions = [MouseAction(press=name) for name in BUTTONS if name in wanted - self._pressed]
        actions += [MouseAction(release=name) for name in BUTTONS if name in self._pressed - wanted]
        if actions:
            await self.access.ask(messages.Mouse(actions=actions))
        self._pressed = wanted
        return ""

    async def screen(self, _: list[str]) -> str:
        """Show the screen: text as it is, graphics in colour."""
        answer = await self.access.ask(messages.Screen(png=True))
        if answer.text:
            return answer.text
        return (await self.access.ask(messages.Screen(ansi=min(_COLUMNS, MOST_COLUMNS)))).text

    async def screendump(self, arguments: list[str]) -> str:
        """Write the screen to a file: a PNG if its name says so or `-f png` does, else a PPM."""
        if len(arguments) == 2 or (len(arguments) == 3 and arguments[1] != "-f"):
            raise ConfigError(f"screendump: {_usage('screendump', WORDS['screendump'])}")
        kind = arguments[2] if len(arguments) == 3 else "png" if arguments[0].endswith(".png") else "ppm"
        await screendump(self.access, arguments[0], kind)
        return ""

    async def powerdown(self, _: list[str]) -> str:
        """Press the power button."""
        return (await self.access.ask(messages.PowerButton())).text

    async def eject(self, arguments: list[str]) -> str:
        """Take a disc or a diskette out."""
        force = arguments[0] == "-f"
        if len(arguments) != 1 + force:
            raise ConfigError(f"eject: {_usage('eject', WORDS['eject'])}")
        await eject(self.access, arguments[-1], force=force)
        return ""

    async def change(self, arguments: list[str]) -> str:
        """Put an image into a drive."""
        await insert(self.access, arguments[0], arguments[1])
        return ""

    # -- words --------------------------------------------------------------------------------------------

    async def _context(self) -> VcpuContext:
        context = (await found(self.access, probe.Registers())).registers
        assert context is not None
        return context

    def _number(self, text: str, context: VcpuContext) -> int:
        """Return what an expression is: numbers and registers ($eip), added and subtracted."""
        named = registers.by_name(context)
        total, at = 0, 0
        while at < len(text) or at == 0:
            match = _TERM.match(text, at)
            if match is None or (at and not match[1]):
                raise ConfigError(f"'{text}'; allowed: numbers and registers, as in 0x7c00, $esp+8")
            at = match.end()
            total += -_term(match[2], named) if match[1] == "-" else _term(match[2], named)
        if not 0 <= total < 1 << 52:
            raise ConfigError(f"'{text}' is {total:#x}, which is no address")
        return total

    @staticmethod
    def _small(text: str, most: int, *, negative: bool = False) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            value = most + 1
        least = -most if negative else 0
        if not least <= value <= most:
            raise ConfigError(f"'{text}'; allowed: a number from {least} to {most}")
        return value


def _term(text: str, named: dict[str, int]) -> int:
    if text.startswith("$"):
        if text[1:] not in named:
            raise ConfigError(f"no register '{text}'; allowed: {', '.join('$' + name for name in named)}")
        return named[text[1:]]
    try:
        return int(text, 0)
    except ValueError:
        raise ConfigError(f"'{text}'; allowed: a number as 4096 or 0x1000, or a register as $esp") from None


def _port(number: int) -> int:
    if number > 0xFFFF:
        raise ConfigError(f"port {number:#x}; allowed: 0 to 0xffff")
    return number


def _formatted(arguments: Sequence[str]) -> tuple[memory.Format, str]:
    """Part a format from the expression behind it."""
    if arguments[0].startswith("/"):
        if len(arguments) == 1:
            raise ConfigError("an address is missing behind the format")
        return memory.Format.parse(arguments[0]), "".join(arguments[1:])
    return memory.Format(), "".join(arguments)


def _usage(name: str, word: Word) -> str:
    return f"use `{(name + ' ' + word.arguments).strip()}`: {word.help}"


def _drive_line(drive: probe.Drive) -> str:
    what = "not inserted" if drive.path is None else f"{drive.path} (raw{', read-only' * drive.readonly})"
    removable = (
        "" if drive.kind == "disk" else f"\n    Removable device: {'' if drive.locked else 'not '}locked"
    )
    return f"{drive.name}: {what}{removable}\n"


async def drive_named(access: Access, name: str) -> probe.Drive:
    """Return the drive of a name.

    Raises:
        DevmodelError: there is none such.

    """
    every = await drives(access)
    for drive in every:
        if drive.name == name:
            return drive
    names = ", ".join(drive.name for drive in every)
    raise DevmodelError(
        f"Device '{name}' not found; " + (f"there are {names}" if names else "there are no drives")
    )


async def eject(access: Access, name: str, *, force: bool) -> None:
    """Take a disc or a diskette out of the drive of a name.

    Raises:
        DevmodelError: there is none such, it takes none, or the guest has locked it.

    """
    drive = await drive_named(access, name)
    if drive.kind == "disk":
        raise DevmodelError(f"Device '{name}' is not removable")
    await access.ask(messages.Eject(drive=drive.number, force=force, floppy=drive.kind == "floppy"))


async def insert(access: Access, name: str, path: str) -> None:
    """Put an image into the drive of a name.

    Raises:
        DevmodelError: there is none such, it takes none, or the image cannot be used.

    """
    drive = await drive_named(access, name)
    if drive.kind == "disk":
        raise DevmodelError(f"Device '{name}' is not removable")
    await access.ask(messages.Insert(path=path, drive=drive.number, floppy=drive.kind == "floppy"))


async def screendump(access: Access, path: str, kind: str) -> None:
    """Write the screen to a file, as a "png" or a "ppm".

    Raises:
        DevmodelError: it cannot be written, or `kind` is another one.

    """
    if kind not in {"png", "ppm"}:
        raise ConfigError(f"format '{kind}'; allowed: png, ppm")
    answer = await access.ask(messages.Screen(png=kind == "png", ppm=kind == "ppm"))
    await write_file(path, asking.png_of(answer))


async def write_file(path: str, data: bytes) -> None:
    """Write a file, made anew.

    Raises:
        DevmodelError: it cannot be written.

    """

    def write() -> None:
        with create(path) as file:
            file.write(data)

    try:
        await trio.to_thread.run_sync(write)
    except (OSError, ValueError) as error:
        raise DevmodelError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


INFO: Final = {
    "version": Word("", "which program serves", Human.version),
    "name": Word("", "what the machine is called", Human.name),
    "status": Word("", "whether the vCPUs run", Human.status),
    "registers": Word("", "a vCPU's registers", Human.registers, most=1),
    "block": Word("", "drives, and what is in them", Human.block),
    "chardev": Word("", "where serial consoles listen", Human.chardev),
    "mtree": Word("", "what is mapped where", Human.mtree),
    "devices": Word("", "the chips", Human.devices),
    "state": Word("CHIP", "what a chip remembers, as JSON", Human.state, 1, 1),
    "stats": Word("", "what devices and vCPUs have counted", Human.statistics),
}

_LINEAR: Final = {
    "x": partial(Human.examine, physical=False),
    "memsave": partial(Human.save_memory, physical=False),
}
_PHYSICAL: Final = {
    "xp": partial(Human.examine, physical=True),
    "pmemsave": partial(Human.save_memory, physical=True),
}

WORDS: Final = {
    "help": Word("[COMMAND]", "list the commands, or explain one", Human.help, most=1),
    "info": Word("WHAT", "show something; 'help info' lists what", Human.info, most=3),
    "stop": Word("", "hold the vCPUs between two instructions", Human.stop),
    "cont": Word("", "let them run on", Human.cont),
    "system_reset": Word("", "press the reset button", Human.reset),
    "system_powerdown": Word("", "press the power button, of which a system with ACPI hears", Human.powerdown),
    "nmi": Word("", "press the NMI button", Human.nmi),
    "quit": Word("", "switch the machine off, now", Human.quit),
    "x": Word("[/FORMAT] ADDRESS", "dump memory by linear address: x /4xw $esp", _LINEAR["x"], 1, 9),
    "xp": Word("[/FORMAT] ADDRESS", "the same by guest-physical address", _PHYSICAL["xp"], 1, 9),
    "memsave": Word("ADDRESS SIZE FILE", "write memory to a file", _LINEAR["memsave"], 3, 3),
    "pmemsave": Word("ADDRESS SIZE FILE", "the same by guest-physical address", _PHYSICAL["pmemsave"], 3, 3),
    "print": Word("[/FORMAT] EXPRESSION", "show a number: print /x $eip+4", Human.print, 1, 9),
    "i": Word("[/FORMAT] PORT", "read a port, with all that this does: i /b 0x3fd", Human.read_port, 1, 9),
    "o": Word("[/FORMAT] PORT VALUE", "write a port", Human.write_port, 2, 3),
    "sendkey": Word("KEYS [MS]", "type keys, joined by -, held so long: sendkey ctrl-alt-delete", Human.sendkey, 1, 2),
    "mouse_move": Word("DX DY [WHEEL]", "move the mouse", Human.mouse_move, 2, 3),
    "mouse_button": Word("MASK", "hold buttons: 1 left, 2 right, 4 middle", Human.mouse_button, 1, 1),
    "screen": Word("", "show the screen here", Human.screen),
    "screendump": Word("FILE [-f png|ppm]", "write the screen to a file", Human.screendump, 1, 3),
    "eject": Word("[-f] DRIVE", "take a disc or diskette out; -f even if the guest has locked it", Human.eject, 1, 2),
    "change": Word("DRIVE FILE", "put an image into a CD-ROM or floppy drive", Human.change, 2, 2),
}  # fmt: skip

ALIASES: Final = {"?": "help", "c": "cont", "s": "stop", "q": "quit", "p": "print"}


def complete(line: str, drives_: Sequence[str] = ()) -> list[str]:
    """Return what the last word of a line may become."""
    words = line.split()
    if not line or line[-1].isspace():
        words.append("")
    last = words[-1]
    match words[:-1]:
        case []:
            every: Sequence[str] = [*WORDS]
        case ["info"]:
            every = [*INFO]
        case ["help" | "?"]:
            every = [*WORDS]
        case ["eject" | "change"] | ["eject", "-f"]:
            every = drives_
        case _:
            every = ()
    return [word for word in every if word.startswith(last)]
