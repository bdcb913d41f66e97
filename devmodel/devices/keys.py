"""The keys of a 102-key PS/2 keyboard by QEMU's names, with their set 2 codes (PS/2 TR, Keyboard)."""

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

ALIASES: Final = {
    "space": "spc",
    "enter": "ret",
    "return": "ret",
    "escape": "esc",
    "del": "delete",
    "ins": "insert",
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

_MAKE_BREAK_PREFIX: Final = 0xF0


def codes(name: str, *, pressed: bool, scan_set: int = 2) -> bytes:
    """Return what the keyboard sends for a key.

    Raises:
        ValueError: there is no key of that name.

    """
    code = KEYS.get(ALIASES.get(name, name))
    if code is None:
        raise ValueError(f"no key '{name}'; the names are {', '.join(KEYS)} and pause")
    prefix = b"\xe0" if code & E0 else b""
    code &= 0xFF
    if scan_set == 1:
        return prefix + bytes([TRANSLATION[code] | (0 if pressed else 0x80)])
    return prefix + (b"" if pressed else bytes([_MAKE_BREAK_PREFIX])) + bytes([code])
