"""X11's key symbols and the XT's scan codes, by which viewers say what is typed, as the names of `devices.keys`."""

from typing import Final

from devmodel.devices.keyboard import Keyboard

SPECIAL: Final = {
    0xFE03: "alt_r", 0xFE20: "tab", 0xFF08: "backspace", 0xFF09: "tab", 0xFF0D: "ret", 0xFF13: "pause",
    0xFF14: "scroll_lock", 0xFF15: "print", 0xFF1B: "esc", 0xFF50: "home", 0xFF51: "left", 0xFF52: "up",
    0xFF53: "right", 0xFF54: "down", 0xFF55: "pgup", 0xFF56: "pgdn", 0xFF57: "end", 0xFF61: "print",
    0xFF63: "insert", 0xFF67: "menu", 0xFF7F: "num_lock", 0xFF8D: "kp_enter", 0xFF95: "kp_7", 0xFF96: "kp_4",
    0xFF97: "kp_8", 0xFF98: "kp_6", 0xFF99: "kp_2", 0xFF9A: "kp_9", 0xFF9B: "kp_3", 0xFF9C: "kp_1", 0xFF9D: "kp_5",
    0xFF9E: "kp_0", 0xFF9F: "kp_decimal", 0xFFAA: "kp_multiply", 0xFFAB: "kp_add", 0xFFAC: "kp_decimal",
    0xFFAD: "kp_subtract", 0xFFAE: "kp_decimal", 0xFFAF: "kp_divide",
    **{0xFFB0 + n: f"kp_{n}" for n in range(10)}, **{0xFFBE + n: f"f{n + 1}" for n in range(12)},
    0xFFE1: "shift", 0xFFE2: "shift_r", 0xFFE3: "ctrl", 0xFFE4: "ctrl_r", 0xFFE5: "caps_lock", 0xFFE7: "alt",
    0xFFE8: "alt_r", 0xFFE9: "alt", 0xFFEA: "alt_r", 0xFFEB: "meta_l", 0xFFEC: "meta_r", 0xFFFF: "delete",
}  # fmt: skip
"""keysymdef.h: what is no character."""

_ROWS: Final = (
    (
        0x01,
        "esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab q w e r t y u i o p bracket_left bracket_right ret ctrl",
    ),
    (
        0x1E,
        "a s d f g h j k l semicolon apostrophe grave_accent shift backslash z x c v b n m comma dot slash shift_r",
    ),
    (0x37, "kp_multiply alt spc caps_lock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock"),
    (0x47, "kp_7 kp_8 kp_9 kp_subtract kp_4 kp_5 kp_6 kp_add kp_1 kp_2 kp_3 kp_0 kp_decimal"),
    (0x56, "less f11 f12"),
)
SCAN_CODES: Final = {
    **{first + n: name for first, names in _ROWS for n, name in enumerate(names.split())},
    0x9C: "kp_enter", 0x9D: "ctrl_r", 0xB5: "kp_divide", 0xB7: "print", 0xB8: "alt_r", 0xC6: "pause", 0xC7: "home",
    0xC8: "up", 0xC9: "pgup", 0xCB: "left", 0xCD: "right", 0xCF: "end", 0xD0: "down", 0xD1: "pgdn", 0xD2: "insert",
    0xD3: "delete", 0xDB: "meta_l", 0xDC: "meta_r", 0xDD: "menu",
}  # fmt: skip
"""Scan code set 1; with the prefix E0, bit 7 is set (QEMU's extended key event)."""


def key_of(keysym: int) -> tuple[str, bool | None] | None:
    """Return the key of a US keyboard that has a symbol, and whether with Shift (None: either way), if one has."""
    if keysym in SPECIAL:
        return SPECIAL[keysym], None
    if not 0x20 <= keysym <= 0x7E:
        return None
    character = chr(keysym)
    *shift, name = Keyboard.combination(character).split("-")
    return name, None if character == " " else bool(shift)
