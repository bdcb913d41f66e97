"""The keys of a 102-key PS/2 keyboard by QEMU's names, and what they send in each scan code set (PS/2 TR, Keyboard).

In sets 1 and 2 some keys send what keyboards before them sent by Shift or with Num Lock off: they put a false shift
around their code, or take the true one away for as long (`codes`). In set 3 every key has one byte of its own.
"""

from collections.abc import Collection
from typing import Final

E0: Final = 0xE000  # the code comes with the prefix E0

KEYS: Final = {
    "esc": 0x76, "f1": 0x05, "f2": 0x06, "f3": 0x04, "f4": 0x0C, "f5": 0x03, "f6": 0x0B, "f7": 0x83,
    "f8": 0x0A, "f9": 0x01, "f10": 0x09, "f11": 0x78, "f12": 0x07, "scroll_lock": 0x7E,
    "grave_accent": 0x0E, "1": 0x16, "2": 0x1E, "3": 0x26, "4": 0x25, "5": 0x2E, "6": 0x36, "7": 0x3D,
    "8": 0x3E, "9": 0x46, "0": 0x45, "minus": 0x4E, "equal": 0x55, "backspace": 0x66,
    "tab": 0x0D, "q": 0x15, "w": 0x1D, "e": 0x24, "r": 0x2D, "t": 0x2C, "y": 0x35, "u": 0x3C, "i": 0x43,
    "o": 0x44, "p": 0x4D, "bracket_left": 0x54, "bracket_right": 0x5B, "backslash": 0x5D,
    "caps_lock": 0x58, "a": 0x1C, "s": 0x1B, "d": 0x23, "f": 0x2B, "g": 0x34, "h": 0x33, "j": 0x3B,
    "k": 0x42, "l": 0x4B, "semicolon": 0x4C, "apostrophe": 0x52, "ret": 0x5A,
    "shift": 0x12, "less": 0x61, "z": 0x1A, "x": 0x22, "c": 0x21, "v": 0x2A, "b": 0x32, "n": 0x31,
    "m": 0x3A, "comma": 0x41, "dot": 0x49, "slash": 0x4A, "shift_r": 0x59,
    "ctrl": 0x14, "alt": 0x11, "spc": 0x29, "meta_l": E0 | 0x1F, "meta_r": E0 | 0x27, "menu": E0 | 0x2F,
    "alt_r": E0 | 0x11, "ctrl_r": E0 | 0x14, "print": E0 | 0x7C,
    "insert": E0 | 0x70, "home": E0 | 0x6C, "pgup": E0 | 0x7D, "delete": E0 | 0x71, "end": E0 | 0x69,
    "pgdn": E0 | 0x7A, "up": E0 | 0x75, "left": E0 | 0x6B, "down": E0 | 0x72, "right": E0 | 0x74,
    "num_lock": 0x77, "kp_divide": E0 | 0x4A, "kp_multiply": 0x7C, "kp_subtract": 0x7B, "kp_add": 0x79,
    "kp_enter": E0 | 0x5A, "kp_decimal": 0x71, "kp_0": 0x70, "kp_1": 0x69, "kp_2": 0x72, "kp_3": 0x7A,
    "kp_4": 0x6B, "kp_5": 0x73, "kp_6": 0x74, "kp_7": 0x6C, "kp_8": 0x75, "kp_9": 0x7D,
}  # fmt: skip

SET_3: Final = {
    "esc": 0x08, "f1": 0x07, "f2": 0x0F, "f3": 0x17, "f4": 0x1F, "f5": 0x27, "f6": 0x2F, "f7": 0x37,
    "f8": 0x3F, "f9": 0x47, "f10": 0x4F, "f11": 0x56, "f12": 0x5E, "print": 0x57, "scroll_lock": 0x5F, "pause": 0x62,
    "backslash": 0x5C, "caps_lock": 0x14, "less": 0x13, "ctrl": 0x11, "alt": 0x19, "alt_r": 0x39, "ctrl_r": 0x58,
    "meta_l": 0x8B, "meta_r": 0x8C, "menu": 0x8D,
    "insert": 0x67, "home": 0x6E, "pgup": 0x6F, "delete": 0x64, "end": 0x65, "pgdn": 0x6D,
    "up": 0x63, "left": 0x61, "down": 0x60, "right": 0x6A,
    "num_lock": 0x76, "kp_divide": 0x77, "kp_multiply": 0x7E, "kp_subtract": 0x84, "kp_add": 0x7C, "kp_enter": 0x79,
}  # fmt: skip
"""Set 3 codes, where they are not those of set 2."""
MAKE_BREAK: Final = frozenset(("caps_lock", "shift", "shift_r", "ctrl", "alt"))
"""Keys that say in set 3, unasked, when they are released."""
MAKE_ONLY: Final = frozenset((
    "alt_r", "ctrl_r", "insert", "home", "end", "pgup", "pgdn", "num_lock", "esc", "print", "scroll_lock", "pause",
    "meta_l", "meta_r", "menu", "kp_divide", "kp_multiply", "kp_subtract", "kp_enter", "kp_decimal",
    *(f"kp_{n}" for n in range(10)), *(f"f{n}" for n in range(1, 13)),
))  # fmt: skip
"""Keys that neither repeat in set 3 nor say when they are released; all others repeat."""
NAVIGATION: Final = frozenset(
    ("insert", "home", "pgup", "delete", "end", "pgdn", "up", "left", "down", "right")
)
SHIFTS: Final = {"shift": 0x12, "shift_r": 0x59}
CONTROLS: Final = frozenset(("ctrl", "ctrl_r"))
ALTS: Final = frozenset(("alt", "alt_r"))
SYSTEM_REQUEST: Final = 0x84
PAUSE: Final = {1: b"\xe1\x1d\x45\xe1\x9d\xc5", 2: b"\xe1\x14\x77\xe1\xf0\x14\xf0\x77"}
BREAK_KEY: Final = {1: b"\xe0\x46\xe0\xc6", 2: b"\xe0\x7e\xe0\xf0\x7e"}
"""Pause with Ctrl held."""

ALIASES: Final = {
    "space": "spc",
    "enter": "ret",
    "return": "ret",
    "escape": "esc",
    "del": "delete",
    "ins": "insert",
    "asterisk": "kp_multiply",
    "sysrq": "print",
    "compose": "menu",
}
"""Other names that people try."""

CHARACTERS: Final = {
    " ": "spc", "\n": "ret", "\t": "tab", "\b": "backspace", "\x1b": "esc",
    "-": "minus", "=": "equal", "[": "bracket_left", "]": "bracket_right", "\\": "backslash",
    ";": "semicolon", "'": "apostrophe", "`": "grave_accent", ",": "comma", ".": "dot", "/": "slash",
    "_": "shift-minus", "+": "shift-equal", "{": "shift-bracket_left", "}": "shift-bracket_right",
    "|": "shift-backslash", ":": "shift-semicolon", '"': "shift-apostrophe", "~": "shift-grave_accent",
    "<": "shift-comma", ">": "shift-dot", "?": "shift-slash", "!": "shift-1", "@": "shift-2",
    "#": "shift-3", "$": "shift-4", "%": "shift-5", "^": "shift-6", "&": "shift-7", "*": "shift-8",
    "(": "shift-9", ")": "shift-0",
}  # fmt: skip
"""Characters on a US keyboard that are not keys by their own name."""

# Set 2 to set 1, as the keyboard controller translates (IBM PS/2 TR, keyboard controller).
TRANSLATION: Final = bytes.fromhex(
    "ff43413f3d3b3c58 64444240 3e0f2959"
    "65382a70 1d10025a 66712c1f 1e11035b"
    "672e2d20 1205045c 68392f21 1413065d"
    "69313023 2215075e 6a723224 1608095f"
    "6b332517 180b0a60 6c343526 27190c61"
    "6d732874 1a0d626e 3a361c1b 752b6376"
    "55567778 797a0e7b 7c4f7d4b 477e7f6f"
    "5253504c 4d480145 574e514a 37494654"
    "80818241 54"
) + bytes(range(0x85, 0x100))

_BREAK: Final = 0xF0


def name_of(name: str) -> str:
    """Return the key that a user means.

    Raises:
        ValueError: there is none such.

    """
    name = ALIASES.get(name, name)
    if name not in KEYS and name != "pause":
        raise ValueError(f"no key '{name}'; the names are {', '.join(KEYS)} and pause")
    return name


def code_3(name: str) -> int:
    """Return a key's code in set 3."""
    return SET_3.get(name) or KEYS[name] & 0xFF


CODES_3: Final = {code_3(name): name for name in (*KEYS, "pause")}


def codes(
    name: str, *, pressed: bool, scan_set: int = 2, held: Collection[str] = (), num_lock: bool = False
) -> bytes:
    """Return what the keyboard sends for a key while others are held.

    In sets 1 and 2: set 3's keys send what their types say, and are not asked of here but for their codes.

    Raises:
        ValueError: there is no key of that name.

    """
    name = name_of(name)
    if scan_set == 3:
        return (b"" if pressed else bytes((_BREAK,))) + bytes((code_3(name),))
    if name == "pause":
        if not pressed:
            return b""
        return BREAK_KEY[scan_set] if CONTROLS.intersection(held) else PAUSE[scan_set]
    if name == "print" and ALTS.intersection(held):
        return _sent(SYSTEM_REQUEST, pressed, scan_set)
    own = _sent(KEYS[name], pressed, scan_set)
    shifts = [code for shift, code in SHIFTS.items() if shift in held]
    plain = not shifts and not (name == "print" and CONTROLS.intersection(held))
    if name == "kp_divide" or (name in NAVIGATION and not num_lock):
        # Shift is taken away: a shifted key of the block there was would be a digit.
        return _around(own, [_sent(E0 | code, not pressed, scan_set) for code in shifts], pressed)
    if plain and (name == "print" or name in NAVIGATION):
        return _around(own, [_sent(E0 | SHIFTS["shift"], pressed, scan_set)], pressed)
    return own


def _around(own: bytes, shifts: list[bytes], pressed: bool) -> bytes:
    """Put false shifts before a key that is pressed, and behind its release."""
    return b"".join((*shifts, own) if pressed else (own, *shifts))


def _sent(code: int, pressed: bool, scan_set: int) -> bytes:
    """Return one code of set 2, or its like in set 1, as pressed or released."""
    prefix = b"\xe0" if code & E0 else b""
    code &= 0xFF
    if scan_set == 1:
        return prefix + bytes((TRANSLATION[code] | (0 if pressed else 0x80),))
    return prefix + (b"" if pressed else bytes((_BREAK,))) + bytes((code,))
