// A viewer of the guest's screen: RFB 3.8 (RFC 6143) over a WebSocket, raw and by zlib, with QEMU's extended key events.

import { SCAN_CODES, symbolOf } from "./keys.js";

const RAW = 0, ZLIB = 6, DESKTOP_SIZE = -223, EXTENDED_KEYS = -258;
const WHEEL_UP = 8, WHEEL_DOWN = 16;
const LITTLE_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/** Bytes that come in pieces, taken by exact numbers. */
class Reader {
  #pieces = [];
  #length = 0;
  #wanted = 0;
  #resolve = null;
  #reject = null;
  #error = null;

  push(piece) {
    this.#pieces.push(piece);
    this.#length += piece.length;
    if (this.#resolve && this.#length >= this.#wanted) {
      this.#resolve();
      this.#resolve = null;
    }
  }

  end(error) {
    this.#error = error;
    if (this.#resolve) this.#reject(error);
  }

  async take(count) {
    if (this.#length < count) {
      if (this.#error) throw this.#error;
      this.#wanted = count;
      await new Promise((resolve, reject) => { this.#resolve = resolve; this.#reject = reject; });
    }
    const taken = new Uint8Array(count);
    let at = 0;
    while (at < count) {
      const piece = this.#pieces[0];
      const part = piece.subarray(0, count - at);
      taken.set(part, at);
      at += part.length;
      if (part.length === piece.length) this.#pieces.shift();
      else this.#pieces[0] = piece.subarray(part.length);
    }
    this.#length -= count;
    return taken;
  }

  async view(count) {
    return new DataView((await this.take(count)).buffer);
  }
}

/** A zlib stream that goes on from update to update. */
class Inflater {
  #stream = new DecompressionStream("deflate");
  #writer = this.#stream.writable.getWriter();
  #reader = new Reader();

  constructor() {
    this.#pump().catch((error) => this.#reader.end(error));
  }

  async #pump() {
    const output = this.#stream.readable.getReader();
    for (;;) {
      const { value, done } = await output.read();
      if (done) return;
      this.#reader.push(value);
    }
  }

  take(packed, count) {
    this.#writer.write(packed).catch((error) => this.#reader.end(error));
    return this.#reader.take(count);
  }
}

/** Draws a screen on a canvas, and types and points on its machine. `onState` hears "" or what is wrong. */
export class Screen {
  #canvas;
  #context;
  #url;
  #onState;
  #socket = null;
  #reader = null;
  #inflater = null;
  #extendedKeys = false;
  #held = new Map();
  #buttons = 0;
  updates = 0;

  constructor(canvas, url, onState) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    this.#url = url;
    this.#onState = onState;
    canvas.tabIndex = 0;
    canvas.addEventListener("keydown", (event) => this.#key(event, true));
    canvas.addEventListener("keyup", (event) => this.#key(event, false));
    canvas.addEventListener("blur", () => this.#letGo());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("mousemove", (event) => this.#point(event));
    canvas.addEventListener("mousedown", (event) => { canvas.focus(); this.#button(event, true); });
    canvas.addEventListener("mouseup", (event) => this.#button(event, false));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** Show the screen until the connection ends. */
  async run() {
    const socket = new WebSocket(this.#url, "binary");
    socket.binaryType = "arraybuffer";
    const reader = new Reader();
    socket.onmessage = (event) => reader.push(new Uint8Array(event.data));
    socket.onclose = () => reader.end(new Error("the connection has ended"));
    this.#socket = socket;
    this.#reader = reader;
    this.#extendedKeys = false;
    this.#held.clear();
    this.#buttons = 0;
    this.#inflater = typeof DecompressionStream === "undefined" ? null : new Inflater();
    try {
      await this.#shakeHands();
      this.#onState("");
      this.#ask(false);
      for (;;) await this.#message();
    } finally {
      socket.close();
      this.#socket = null;
    }
  }

  /** Press and release keys together, by their codes. */
  chord(codes) {
    for (const code of codes) this.#sendKey(code, "", true);
    for (const code of codes.toReversed()) this.#sendKey(code, "", false);
  }

  async #shakeHands() {
    const version = await this.#reader.take(12);
    this.#send(version);
    const [count] = await this.#reader.take(1);
    const kinds = await this.#reader.take(count);
    if (!kinds.includes(1)) throw new Error("the screen wants another password");
    this.#send(Uint8Array.of(1));
    if ((await this.#reader.view(4)).getUint32(0) !== 0) throw new Error("the screen refuses");
    this.#send(Uint8Array.of(1));
    const head = await this.#reader.view(24);
    this.#resize(head.getUint16(0), head.getUint16(2));
    await this.#reader.take(head.getUint32(20));
    // 32 bits a dot, little-endian: red, green, blue and nothing, as a canvas has them.
    this.#send(Uint8Array.of(0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0));
    const encodings = [...(this.#inflater ? [ZLIB] : []), RAW, DESKTOP_SIZE, EXTENDED_KEYS];
    const message = new DataView(new ArrayBuffer(4 + 4 * encodings.length));
    message.setUint8(0, 2);
    message.setUint16(2, encodings.length);
    encodings.forEach((encoding, n) => message.setInt32(4 + 4 * n, encoding));
    this.#send(message);
  }

  async #message() {
    const [kind] = await this.#reader.take(1);
    if (kind === 0) {
      await this.#update();
      this.updates += 1;
      this.#ask(true);
    } else if (kind === 3) {
      await this.#reader.take((await this.#reader.view(7)).getUint32(3));
    } else if (kind !== 2) {
      throw new Error(`the screen sends message ${kind}`);
    }
  }

  async #update() {
    const count = (await this.#reader.view(3)).getUint16(1);
    for (let n = 0; n < count; n++) {
      const head = await this.#reader.view(12);
      const [x, y, width, height] = [0, 2, 4, 6].map((at) => head.getUint16(at));
      const encoding = head.getInt32(8);
      if (encoding === DESKTOP_SIZE) this.#resize(width, height);
      else if (encoding === EXTENDED_KEYS) this.#extendedKeys = true;
      else this.#draw(x, y, width, height, await this.#dots(encoding, 4 * width * height));
    }
  }

  async #dots(encoding, length) {
    if (encoding === RAW) return this.#reader.take(length);
    const packed = (await this.#reader.view(4)).getUint32(0);
    return this.#inflater.take(await this.#reader.take(packed), length);
  }

  #draw(x, y, width, height, data) {
    const dots = new Uint32Array(data.buffer);
    const opaque = LITTLE_ENDIAN ? 0xff000000 : 0xff;
    for (let n = 0; n < dots.length; n++) dots[n] |= opaque;
    this.#context.putImageData(new ImageData(new Uint8ClampedArray(data.buffer), width, height), x, y);
  }

  #resize(width, height) {
    this.#canvas.width = width;
    this.#canvas.height = height;
  }

  #ask(incremental) {
    const message = new DataView(new ArrayBuffer(10));
    message.setUint8(0, 3);
    message.setUint8(1, incremental ? 1 : 0);
    message.setUint16(6, this.#canvas.width);
    message.setUint16(8, this.#canvas.height);
    this.#send(message);
  }

  #send(data) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(data);
  }

  #key(event, pressed) {
    event.preventDefault();
    if (pressed) this.#held.set(event.code || event.key, event.key);
    else this.#held.delete(event.code || event.key);
    this.#sendKey(event.code, event.key, pressed);
  }

  #letGo() {
    for (const [code, key] of this.#held) this.#sendKey(code, key, false);
    this.#held.clear();
  }

  #sendKey(code, key, pressed) {
    const scanCode = SCAN_CODES.get(code);
    if (scanCode !== undefined && this.#extendedKeys) {
      const message = new DataView(new ArrayBuffer(12));
      message.setUint8(0, 255);
      message.setUint16(2, pressed ? 1 : 0);
      message.setUint32(8, scanCode);
      this.#send(message);
      return;
    }
    const symbol = symbolOf(key);
    if (symbol) {
      const message = new DataView(new ArrayBuffer(8));
      message.setUint8(0, 4);
      message.setUint8(1, pressed ? 1 : 0);
      message.setUint32(4, symbol);
      this.#send(message);
    }
  }

  #button(event, pressed) {
    event.preventDefault();
    const bit = 1 << event.button;
    this.#buttons = pressed ? this.#buttons | bit : this.#buttons & ~bit;
    this.#point(event);
  }

  #wheel(event) {
    event.preventDefault();
    if (!event.deltaY) return;
    this.#point(event, event.deltaY < 0 ? WHEEL_UP : WHEEL_DOWN);
    this.#point(event);
  }

  #point(event, wheel = 0) {
    const box = this.#canvas.getBoundingClientRect();
    const place = (offset, length, dots) => Math.max(0, Math.min(dots - 1, Math.floor((offset * dots) / length)));
    const message = new DataView(new ArrayBuffer(6));
    message.setUint8(0, 5);
    message.setUint8(1, this.#buttons | wheel);
    message.setUint16(2, place(event.clientX - box.left, box.width, this.#canvas.width));
    message.setUint16(4, place(event.clientY - box.top, box.height, this.#canvas.height));
    this.#send(message);
  }
}
