// The page: a tab for the screen and for each serial console. Each connects again when its connection ends, as it does
// in an upgrade; a console then goes on from the byte where it was.

import { Screen } from "./rfb.js";
import { Terminal } from "./terminal.js";

const AGAIN = 500, SLOWEST = 5000;  // milliseconds
const states = new Map();
const views = new Map();
let machine = null;
let shown = null;

function address(path) {
  return new URL(path, location.href.replace(/^http/, "ws")).href;
}

function say(what, text) {
  states.set(what, text);
  document.getElementById("state").textContent = [...states.values()].find((state) => state) ?? "";
}

/** Do something for ever that lasts as long as a connection; another machine at our address is another page. */
async function keep(what, connect) {
  let wait = AGAIN;
  for (;;) {
    const begin = Date.now();
    try {
      await connect();
    } catch (error) {
      console.debug(what, error);
    }
    wait = Date.now() - begin > SLOWEST ? AGAIN : Math.min(1.5 * wait, SLOWEST);
    say(what, "not connected");
    await new Promise((resolve) => setTimeout(resolve, wait));
    try {
      const answer = await fetch("machine.json");
      if (answer.status === 503) continue;
      if (answer.status === 403 || (await answer.json()).identity !== machine.identity) location.reload();
    } catch {
      // It is not there yet.
    }
  }
}

function addView(name, label, element, focus, sendBreak = null) {
  const tab = document.createElement("button");
  tab.textContent = label;
  tab.id = `tab-${name}`;
  tab.addEventListener("click", () => show(name));
  document.getElementById("tabs").append(tab);
  element.id = name;
  element.hidden = true;
  document.getElementById("views").append(element);
  views.set(name, { tab, element, focus, sendBreak });
}

function show(name) {
  for (const [other, { tab, element }] of views) {
    element.hidden = other !== name;
    tab.setAttribute("aria-selected", String(other === name));
  }
  shown = name;
  document.getElementById("reboot-keys").hidden = name !== "screen";
  document.getElementById("send-break").hidden = views.get(name).sendBreak === null;
  views.get(name).focus();
}

function addScreen() {
  const view = document.createElement("div");
  const canvas = document.createElement("canvas");
  view.append(canvas);
  const screen = new Screen(canvas, address("rfb"), (state) => say("screen", state));
  addView("screen", "Screen", view, () => canvas.focus());
  const keys = document.getElementById("reboot-keys");
  keys.addEventListener("click", () => {
    screen.chord(["ControlLeft", "AltLeft", "Delete"]);
    canvas.focus();
  });
  keep("screen", () => screen.run());
  return screen;
}

function addConsole(number) {
  const name = `serial-${number}`;
  let socket = null;
  let position = null;
  const send = (data) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(data);
  };
  const sendBreak = () => send("break");  // what is typed goes in binary messages, text is a command
  const terminal = new Terminal(send, sendBreak);
  addView(name, `COM${number}`, terminal.element, () => terminal.focus(), sendBreak);
  keep(name, () => new Promise((resolve) => {
    const from = position === null ? "" : `?from=${position}`;
    socket = new WebSocket(address(`serial/${number}${from}`), "console.devmodel");
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => {
      if (typeof event.data === "string") {
        position = Number(event.data);  // where what follows begins, at first and behind what was missed
        say(name, "");
        return;
      }
      const data = new Uint8Array(event.data);
      position += data.length;
      terminal.write(data);
    };
    socket.onclose = resolve;
  }));
  return terminal;
}

async function begin() {
  machine = await (await fetch("machine.json")).json();
  document.title = document.getElementById("name").textContent = machine.name;
  const page = { screen: addScreen(), consoles: [] };
  for (let number = 1; number <= machine.consoles; number++) page.consoles.push(addConsole(number));
  const wanted = location.hash.slice(1);
  show(views.has(wanted) ? wanted : views.keys().next().value);
  document.getElementById("send-break").addEventListener("click", () => {
    const { sendBreak, focus } = views.get(shown);
    sendBreak();
    focus();  // for the key that comes behind it
  });
  window.devmodel = page;  // for whoever looks with a browser's tools
}

begin().catch((error) => say("page", String(error)));
