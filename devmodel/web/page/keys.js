// Where keys are (UI Events KeyboardEvent code values), as scan codes of set 1; behind the prefix E0 with bit 7 set,
// as QEMU's extended key event of RFB has them.

const ROWS = [
  [0x01, "Escape Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal Backspace Tab " +
    "KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight Enter ControlLeft"],
  [0x1e, "KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote Backquote ShiftLeft Backslash " +
    "KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash ShiftRight NumpadMultiply AltLeft Space CapsLock " +
    "F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NumLock ScrollLock Numpad7 Numpad8 Numpad9 NumpadSubtract Numpad4 Numpad5 " +
    "Numpad6 NumpadAdd Numpad1 Numpad2 Numpad3 Numpad0 NumpadDecimal"],
  [0x56, "IntlBackslash F11 F12"],
];

export const SCAN_CODES = new Map([
  ["NumpadEnter", 0x9c], ["ControlRight", 0x9d], ["NumpadDivide", 0xb5], ["PrintScreen", 0xb7], ["AltRight", 0xb8],
  ["Pause", 0xc6], ["Home", 0xc7], ["ArrowUp", 0xc8], ["PageUp", 0xc9], ["ArrowLeft", 0xcb], ["ArrowRight", 0xcd],
  ["End", 0xcf], ["ArrowDown", 0xd0], ["PageDown", 0xd1], ["Insert", 0xd2], ["Delete", 0xd3], ["MetaLeft", 0xdb],
  ["MetaRight", 0xdc], ["ContextMenu", 0xdd],
]);
for (const [first, names] of ROWS) {
  names.split(" ").forEach((name, n) => SCAN_CODES.set(name, first + n));
}

/** Return the X11 key symbol of a key that a keyboard on a touch screen has typed, which is nowhere; or 0. */
export function symbolOf(key) {
  const named = { Enter: 0xff0d, Backspace: 0xff08, Tab: 0xff09, Escape: 0xff1b };
  return named[key] ?? ([...key].length === 1 && key < "\x7f" ? key.charCodeAt(0) : 0);
}
