// A terminal of 80 columns and 24 lines, as Linux's console programs expect one on a serial line: what they use of a
// VT100 and of xterm (ECMA-48; xterm's "Control Sequences"). Unknown sequences are taken and have no effect.
// Not modelled: double-width characters, printing, mouse reports, status lines.

const HISTORY = 2000;  // lines above the screen that are kept
const MOST_PARAMETERS = 16, LARGEST = 9999, MOST_STRING = 4096;
const COLORS = [
  "#000000", "#cd3131", "#0dbc79", "#e5e510", "#2472c8", "#bc3fbc", "#11a8cd", "#cccccc",
  "#666666", "#f14c4c", "#23d18b", "#f5f543", "#3b8eea", "#d670d6", "#29b8db", "#ffffff",
];
const FOREGROUND = "#cccccc", BACKGROUND = "#000000";
// DEC special graphics, for the letters from ` to ~.
const GRAPHICS = "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·";
const FIRST_GRAPHIC = 0x60;
const PLAIN = Object.freeze({
  foreground: null, background: null, bold: false, faint: false, italic: false, underline: false, inverse: false,
  hidden: false, struck: false,
});
const KEYS = {
  Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b", Insert: "\x1b[2~", Delete: "\x1b[3~",
  PageUp: "\x1b[5~", PageDown: "\x1b[6~", F1: "\x1bOP", F2: "\x1bOQ", F3: "\x1bOR", F4: "\x1bOS", F5: "\x1b[15~",
  F6: "\x1b[17~", F7: "\x1b[18~", F8: "\x1b[19~", F9: "\x1b[20~", F10: "\x1b[21~", F11: "\x1b[23~", F12: "\x1b[24~",
};
const CURSOR_KEYS = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D", End: "F", Home: "H" };

/** Return a colour of xterm's 256. */
function palette(n) {
  if (n < 16) return COLORS[n];
  if (n >= 232) return `rgb(${Array(3).fill(8 + 10 * (n - 232)).join(",")})`;
  const level = (value) => (value ? 55 + 40 * value : 0);
  n -= 16;
  return `rgb(${level(Math.floor(n / 36))},${level(Math.floor(n / 6) % 6)},${level(n % 6)})`;
}

/** What a guest writes, on a grid; `reply` is called with what the terminal answers. */
export class Grid {
  constructor(columns, rows, reply) {
    this.columns = columns;
    this.rows = rows;
    this.reply = reply;
    this.decoder = new TextDecoder();
    this.reset();
  }

  reset() {
    this.history = [];
    this.forgotten = 0;  // lines that have gone from the history
    this.lines = Array.from({ length: this.rows }, () => this.#blankLine(PLAIN));
    this.other = null;  // the screen that is not shown, while the alternate one is
    this.x = this.y = 0;
    this.wrapping = false;  // the cursor is behind the last column
    this.style = PLAIN;
    this.top = 0;
    this.bottom = this.rows - 1;
    this.saved = null;
    this.cursorShown = true;
    this.autowrap = true;
    this.insert = false;
    this.origin = false;
    this.applicationKeys = false;
    this.bracketedPaste = false;
    this.charsets = ["B", "B"];
    this.shifted = 0;
    this.tabs = new Set(Array.from({ length: this.columns / 8 }, (_, n) => 8 * n));
    this.last = " ";
    this.state = this.#ground;
    this.parameters = "";
    this.length = 0;
  }

  write(bytes) {
    for (const character of this.decoder.decode(bytes, { stream: true })) this.#take(character);
  }

  /** The screen's lines as text, without blanks at their ends. */
  text() {
    return this.lines.map((line) => line.map((cell) => cell.character).join("").trimEnd());
  }

  // -- the parser: a state is a function that takes the next character

  #take(character) {
    const code = character.codePointAt(0);
    if (code === 0x18 || code === 0x1a) {  // CAN and SUB end any sequence
      this.state = this.#ground;
    } else if (code === 0x1b) {
      this.state = this.state === this.#string ? this.#stringEnd : this.#escape;
      this.parameters = "";
    } else if (code < 0x20 && this.state !== this.#string) {
      this.#control(code);
    } else if (code !== 0x7f) {
      this.state(character);
    }
  }

  #ground(character) {
    this.#print(character);
  }

  #escape(character) {
    this.state = this.#ground;
    switch (character) {
      case "[": this.state = this.#sequence; break;
      case "]": case "P": case "X": case "^": case "_": this.state = this.#string; this.length = 0; break;
      case "(": this.state = (set) => this.#choose(0, set); break;
      case ")": this.state = (set) => this.#choose(1, set); break;
      case "*": case "+": case "#": case "%": case " ": this.state = () => { this.state = this.#ground; }; break;
      case "7": this.#save(); break;
      case "8": this.#restore(); break;
      case "D": this.#lineFeed(); break;
      case "E": this.x = 0; this.#lineFeed(); break;
      case "H": this.tabs.add(this.x); break;
      case "M": this.#reverseLineFeed(); break;
      case "Z": this.reply("\x1b[?6c"); break;
      case "c": this.reset(); break;
    }
  }

  #choose(which, set) {
    this.charsets[which] = set;
    this.state = this.#ground;
  }

  #sequence(character) {
    if (character >= "@") {
      this.state = this.#ground;
      this.#perform(character);
    } else if (this.parameters.length < 8 * MOST_PARAMETERS) {
      this.parameters += character;
    }
  }

  /** What names windows and the like, up to BEL or ESC \. */
  #string(character) {
    this.length += 1;
    if (character === "\x07" || this.length > MOST_STRING) this.state = this.#ground;
  }

  #stringEnd(character) {
    this.state = this.#ground;
    if (character !== "\\") this.#escape(character);
  }

  #control(code) {
    switch (code) {
      case 0x08: this.x = Math.max(this.x - 1, 0); this.wrapping = false; break;
      case 0x09: this.#tabulate(1); break;
      case 0x0a: case 0x0b: case 0x0c: this.#lineFeed(); break;
      case 0x0d: this.x = 0; this.wrapping = false; break;
      case 0x0e: this.shifted = 1; break;
      case 0x0f: this.shifted = 0; break;
    }
  }

  // -- what is printed

  #blankLine(style) {
    return Array.from({ length: this.columns }, () => this.#blank(style));
  }

  #blank(style) {
    return { character: " ", style: style.background === null ? PLAIN : { ...PLAIN, background: style.background } };
  }

  #print(character) {
    if (/\p{Mn}/u.test(character)) return;  // an accent of its own
    if (this.charsets[this.shifted] === "0") {
      character = GRAPHICS[character.codePointAt(0) - FIRST_GRAPHIC] ?? character;
    }
    if (this.wrapping) {
      this.x = 0;
      this.#lineFeed();
    }
    const line = this.lines[this.y];
    if (this.insert) {
      line.splice(this.x, 0, null);
      line.length = this.columns;
    }
    line[this.x] = { character, style: this.style };
    this.last = character;
    if (this.x < this.columns - 1) this.x += 1;
    else this.wrapping = this.autowrap;
  }

  #lineFeed() {
    this.wrapping = false;
    if (this.y === this.bottom) this.#scroll(1);
    else if (this.y < this.rows - 1) this.y += 1;
  }

  #reverseLineFeed() {
    this.wrapping = false;
    if (this.y === this.top) this.#scroll(-1);
    else if (this.y > 0) this.y -= 1;
  }

  /** Move the scrolling region up, or down. */
  #scroll(count, top = this.top) {
    for (let n = Math.min(Math.abs(count), this.bottom - top + 1); n > 0; n--) {
      if (count > 0) {
        const [gone] = this.lines.splice(top, 1);
        if (top === 0 && this.other === null) this.#remember(gone);
        this.lines.splice(this.bottom, 0, this.#blankLine(this.style));
      } else {
        this.lines.splice(this.bottom, 1);
        this.lines.splice(top, 0, this.#blankLine(this.style));
      }
    }
  }

  #remember(line) {
    this.history.push(line);
    if (this.history.length > HISTORY) {
      this.history.shift();
      this.forgotten += 1;
    }
  }

  #tabulate(count) {
    this.wrapping = false;
    const step = Math.sign(count);
    for (let n = Math.min(Math.abs(count), this.columns); n > 0; n--) {
      do this.x += step; while (this.x > 0 && this.x < this.columns - 1 && !this.tabs.has(this.x));
      this.x = Math.max(0, Math.min(this.x, this.columns - 1));
    }
  }

  #go(x, y) {
    const [top, bottom] = this.origin ? [this.top, this.bottom] : [0, this.rows - 1];
    this.x = Math.max(0, Math.min(x, this.columns - 1));
    this.y = Math.max(top, Math.min(y, bottom));
    this.wrapping = false;
  }

  #up(count) {
    this.#move(this.y - count, this.y >= this.top ? this.top : 0, this.rows - 1);
  }

  #down(count) {
    this.#move(this.y + count, 0, this.y <= this.bottom ? this.bottom : this.rows - 1);
  }

  #move(y, least, most) {
    this.y = Math.max(least, Math.min(y, most));
    this.wrapping = false;
  }

  #save() {
    const { x, y, style, charsets, shifted, origin, wrapping } = this;
    this.saved = { x, y, style, charsets: [...charsets], shifted, origin, wrapping };
  }

  #restore() {
    const saved = this.saved ?? {
      x: 0, y: 0, style: PLAIN, charsets: ["B", "B"], shifted: 0, origin: false, wrapping: false,
    };
    Object.assign(this, saved, { charsets: [...saved.charsets] });
  }

  // -- control sequences

  #perform(final) {
    const mark = /^[<-?]/.exec(this.parameters)?.[0] ?? "";
    if (/[ -/]/.test(this.parameters)) {
      if (this.parameters === "!" && final === "p") this.#softReset();
      return;
    }
    const values = this.parameters.slice(mark.length).split(/[;:]/).slice(0, MOST_PARAMETERS)
      .map((digits) => Math.min(Number(digits) || 0, LARGEST));
    const first = values[0];
    const count = first || 1;
    if (mark === "?" && (final === "h" || final === "l")) {
      for (const mode of values) this.#setPrivate(mode, final === "h");
      return;
    }
    if (mark) {
      if (mark === ">" && final === "c") this.reply("\x1b[>0;0;0c");
      return;
    }
    switch (final) {
      case "A": this.#up(count); break;
      case "B": case "e": this.#down(count); break;
      case "C": case "a": this.#goTo(this.x + count); break;
      case "D": this.#goTo(this.x - count); break;
      case "E": this.x = 0; this.#down(count); break;
      case "F": this.x = 0; this.#up(count); break;
      case "G": case "`": this.#goTo(count - 1); break;
      case "H": case "f": this.#go((values[1] || 1) - 1, count - 1 + (this.origin ? this.top : 0)); break;
      case "I": this.#tabulate(count); break;
      case "Z": this.#tabulate(-count); break;
      case "J": this.#eraseScreen(first); break;
      case "K": this.#eraseLine(first); break;
      case "L": this.#shiftLines(-count); break;
      case "M": this.#shiftLines(count); break;
      case "P": this.#deleteCharacters(count); break;
      case "@": this.#insertCharacters(count); break;
      case "X": this.#erase(this.y, this.x, this.x + count); break;
      case "S": this.#scroll(count); break;
      case "T": this.#scroll(-count); break;
      case "b": for (let n = Math.min(count, this.columns * this.rows); n > 0; n--) this.#print(this.last); break;
      case "c": this.reply("\x1b[?6c"); break;
      case "d": this.#go(this.x, count - 1 + (this.origin ? this.top : 0)); break;
      case "g": if (first === 3) this.tabs.clear(); else this.tabs.delete(this.x); break;
      case "h": case "l": if (values.includes(4)) this.insert = final === "h"; break;
      case "m": this.#setStyle(values); break;
      case "n":
        if (first === 5) this.reply("\x1b[0n");
        if (first === 6) this.reply(`\x1b[${this.y + 1 - (this.origin ? this.top : 0)};${this.x + 1}R`);
        break;
      case "r": this.#setRegion(count - 1, (values[1] || this.rows) - 1); break;
      case "s": this.#save(); break;
      case "u": this.#restore(); break;
    }
  }

  #goTo(x) {
    this.x = Math.max(0, Math.min(x, this.columns - 1));
    this.wrapping = false;
  }

  #softReset() {
    Object.assign(this, { style: PLAIN, top: 0, bottom: this.rows - 1, origin: false, insert: false, autowrap: true });
    Object.assign(this, { cursorShown: true, applicationKeys: false, charsets: ["B", "B"], shifted: 0, saved: null });
  }

  #setPrivate(mode, on) {
    switch (mode) {
      case 1: this.applicationKeys = on; break;
      case 6: this.origin = on; this.#go(0, on ? this.top : 0); break;
      case 7: this.autowrap = on; this.wrapping = false; break;
      case 25: this.cursorShown = on; break;
      case 47: case 1047: this.#alternate(on); break;
      case 1048: if (on) this.#save(); else this.#restore(); break;
      case 1049:
        if (on) this.#save();
        this.#alternate(on);
        if (!on) this.#restore();
        break;
      case 2004: this.bracketedPaste = on; break;
    }
  }

  #alternate(on) {
    if (on === (this.other !== null)) return;
    if (on) {
      this.other = this.lines;
      this.lines = Array.from({ length: this.rows }, () => this.#blankLine(PLAIN));
    } else {
      this.lines = this.other;
      this.other = null;
    }
  }

  #setRegion(top, bottom) {
    bottom = Math.min(bottom, this.rows - 1);
    if (top >= bottom) return;
    this.top = top;
    this.bottom = bottom;
    this.#go(0, this.origin ? top : 0);
  }

  #erase(y, from, to) {
    for (let x = from; x < Math.min(to, this.columns); x++) this.lines[y][x] = this.#blank(this.style);
    this.wrapping = false;
  }

  #eraseLine(which) {
    this.#erase(this.y, which === 0 ? this.x : 0, which === 1 ? this.x + 1 : this.columns);
  }

  #eraseScreen(which) {
    if (which === 3) {
      this.forgotten += this.history.length;
      this.history = [];
      return;
    }
    if (which === 0 || which === 1) this.#eraseLine(which);
    const [from, to] = which === 0 ? [this.y + 1, this.rows] : [0, which === 1 ? this.y : this.rows];
    for (let y = from; y < to; y++) this.#erase(y, 0, this.columns);
  }

  #shiftLines(count) {
    if (this.y < this.top || this.y > this.bottom) return;
    const kept = this.history.length;
    this.#scroll(count, this.y);
    this.history.length = Math.min(kept, this.history.length);  // what is deleted has not scrolled away
    this.#goTo(0);
  }

  #deleteCharacters(count) {
    const line = this.lines[this.y];
    line.splice(this.x, count);
    while (line.length < this.columns) line.push(this.#blank(this.style));
    this.wrapping = false;
  }

  #insertCharacters(count) {
    const line = this.lines[this.y];
    const blanks = Array.from({ length: Math.min(count, this.columns) }, () => this.#blank(this.style));
    line.splice(this.x, 0, ...blanks);
    line.length = this.columns;
    this.wrapping = false;
  }

  #setStyle(values) {
    const style = { ...this.style };
    for (let n = 0; n < values.length; n++) {
      const value = values[n];
      if (value === 38 || value === 48) {
        const which = value === 38 ? "foreground" : "background";
        if (values[n + 1] === 5) style[which] = palette(Math.min(values[n += 2] ?? 0, 255));
        else if (values[n + 1] === 2) {
          const levels = [2, 3, 4].map((at) => Math.min(values[n + at] ?? 0, 255));
          style[which] = `rgb(${levels.join(",")})`;
          n += 4;
        } else break;
      } else if (value >= 30 && value <= 37) style.foreground = COLORS[value - 30];
      else if (value >= 40 && value <= 47) style.background = COLORS[value - 40];
      else if (value >= 90 && value <= 97) style.foreground = COLORS[value - 82];
      else if (value >= 100 && value <= 107) style.background = COLORS[value - 92];
      else {
        switch (value) {
          case 0: Object.assign(style, PLAIN); break;
          case 1: style.bold = true; break;
          case 2: style.faint = true; break;
          case 3: style.italic = true; break;
          case 4: style.underline = true; break;
          case 7: style.inverse = true; break;
          case 8: style.hidden = true; break;
          case 9: style.struck = true; break;
          case 22: style.bold = style.faint = false; break;
          case 23: style.italic = false; break;
          case 24: style.underline = false; break;
          case 27: style.inverse = false; break;
          case 28: style.hidden = false; break;
          case 29: style.struck = false; break;
          case 39: style.foreground = null; break;
          case 49: style.background = null; break;
        }
      }
    }
    this.style = Object.freeze(style);
  }
}

/** A grid in the page, and its keyboard. `type` is called with what is typed, as UTF-8. */
export class Terminal {
  #encoder = new TextEncoder();
  #type;
  #sendBreak;
  #due = false;
  #forgotten = 0;  // of the lines that have been drawn
  #alternate = false;

  constructor(type, sendBreak, columns = 80, rows = 24) {
    this.#type = type;
    this.#sendBreak = sendBreak;
    this.grid = new Grid(columns, rows, (text) => this.#send(text));
    this.element = document.createElement("div");
    this.element.className = "terminal";
    this.element.tabIndex = 0;
    this.element.style.width = `calc(${columns}ch + 20px)`;  // and the scroll bar
    this.element.style.height = `${1.2 * rows}em`;
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("paste", (event) => this.#paste(event));
    this.#draw();
  }

  focus() {
    this.element.focus();
    this.element.scrollTop = this.element.scrollHeight;
  }

  write(bytes) {
    this.grid.write(bytes);
    if (!this.#due) {
      this.#due = true;
      requestAnimationFrame(() => this.#draw());
    }
  }

  #send(text) {
    this.#type(this.#encoder.encode(text));
  }

  #key(event) {
    if (event.code === "Pause" && event.ctrlKey) {  // the key that says Break
      event.preventDefault();
      this.#sendBreak();
      return;
    }
    const text = this.#textOf(event);
    if (text === null) return;
    event.preventDefault();
    this.#send(text);
  }

  #textOf({ key, ctrlKey, altKey, metaKey, shiftKey }) {
    if (metaKey) return null;
    if (key in CURSOR_KEYS) return (this.grid.applicationKeys ? "\x1bO" : "\x1b[") + CURSOR_KEYS[key];
    if (key === "Tab" && shiftKey) return "\x1b[Z";
    if (key in KEYS) return KEYS[key];
    if ([...key].length !== 1) return null;
    if (ctrlKey && !altKey) {
      if (shiftKey && /^[cv]$/i.test(key)) return null;  // to copy and paste
      if (/^[@-_a-z ]$/i.test(key)) return String.fromCharCode(key.toUpperCase().charCodeAt(0) & 0x1f);
      return null;
    }
    return altKey && !ctrlKey ? `\x1b${key}` : key;
  }

  #paste(event) {
    event.preventDefault();
    // Nothing that is pasted may end the brackets and be taken for typed.
    const text = event.clipboardData.getData("text").replaceAll(/\r?\n/g, "\r").replaceAll("\x1b", "");
    this.#send(this.grid.bracketedPaste ? `\x1b[200~${text}\x1b[201~` : text);
  }

  /** Draw the lines that have changed. */
  #draw() {
    this.#due = false;
    const { element, grid } = this;
    const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
    const alternate = grid.other !== null;
    const history = alternate ? [] : grid.history;
    const all = [...history, ...grid.lines];
    if (alternate !== this.#alternate) {
      element.replaceChildren();
      this.#alternate = alternate;
    } else if (!alternate) {
      for (let n = this.#forgotten; n < grid.forgotten && element.firstChild; n++) element.firstChild.remove();
    }
    this.#forgotten = grid.forgotten;
    while (element.childElementCount > all.length) element.lastElementChild.remove();
    while (element.childElementCount < all.length) element.append(document.createElement("div"));
    const cursorLine = grid.cursorShown ? all.length - grid.rows + grid.y : -1;
    const children = element.children;
    all.forEach((line, n) => {
      if (n < history.length && children[n].past === line) return;  // what has scrolled away changes no more
      children[n].past = n < history.length ? line : null;
      const signature = this.#signature(line, n === cursorLine ? grid.x : -1);
      if (children[n].signature === signature) return;
      children[n].signature = signature;
      children[n].replaceChildren(...this.#spans(line, n === cursorLine ? grid.x : -1));
    });
    if (atEnd) element.scrollTop = element.scrollHeight;
  }

  #signature(line, cursor) {
    let last = null;
    let text = `${cursor}\n`;
    for (const { character, style } of line) {
      if (style !== last) {
        last = style;
        text += `\x1b${Object.values(style).join()}\x1b`;
      }
      text += character;
    }
    return text;
  }

  #spans(line, cursor) {
    const spans = [];
    let text = "";
    let style = null;
    const flush = () => {
      if (text) spans.push(this.#span(text, style));
      text = "";
    };
    line.forEach((cell, x) => {
      const own = x === cursor ? { ...cell.style, inverse: !cell.style.inverse } : cell.style;
      if (own !== style) {
        flush();
        style = own;
      }
      text += cell.character;
    });
    flush();
    return spans;
  }

  #span(text, style) {
    const span = document.createElement("span");
    span.textContent = text;
    let front = style.foreground ?? FOREGROUND;
    let back = style.background ?? BACKGROUND;
    if (style.inverse) [front, back] = [back, front];
    if (front !== FOREGROUND) span.style.color = style.hidden ? back : front;
    if (back !== BACKGROUND) span.style.backgroundColor = back;
    if (style.hidden) span.style.color = back;
    if (style.bold) span.style.fontWeight = "bold";
    if (style.faint) span.style.opacity = "0.6";
    if (style.italic) span.style.fontStyle = "italic";
    const lines = [...(style.underline ? ["underline"] : []), ...(style.struck ? ["line-through"] : [])];
    if (lines.length) span.style.textDecoration = lines.join(" ");
    return span;
  }
}
