"""The page in headless Chromium: what it shows are the screen's dots, and what is typed in it reaches the guest."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files

import pytest
import trio

from devmodel.testing import Machine

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the tests' browser")
SWITCHES = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync",
)  # fmt: skip
SECONDS = 60
DEMO = files("devmodel.demo") / "machine.toml"
PAGE = files("devmodel.web") / "page"
WEB = re.compile(r"^devmodel: web on (http://127.0.0.1:\d+/)$", re.MULTILINE)


class Browser:
    """A browser whose waiting for what a page does is bounded, and in a thread."""

    def __init__(self, driver) -> None:
        self.driver = driver

    async def go(self, url: str) -> None:
        await trio.to_thread.run_sync(self.driver.get, url)

    async def run(self, script: str, *arguments):
        return await trio.to_thread.run_sync(self.driver.execute_script, script, *arguments)

    async def until(self, script: str, *arguments):
        """Wait until a script returns something."""
        with trio.fail_after(SECONDS):
            while True:
                found = await self.run(script, *arguments)
                if found:
                    return found
                await trio.sleep(0.1)

    async def type(self, element: str, text: str) -> None:
        found = await trio.to_thread.run_sync(self.driver.find_element, "css selector", element)
        await trio.to_thread.run_sync(found.send_keys, text)

    async def picture(self) -> bytes:
        """Return the canvas as a PNG."""
        url = await self.run("return document.querySelector('canvas').toDataURL('image/png')")
        return base64.b64decode(url.partition(",")[2])

    async def console(self, text: str) -> None:
        """Wait for a line on the first serial console."""
        await self.until(
            "return devmodel.consoles[0].grid.text().some((line) => line.includes(arguments[0]))", text
        )

    def complaints(self) -> list[str]:
        """Return what the browser has to say against the page."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Iterator:
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.skip("Chromium is in Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    for switch in SWITCHES:
        options.add_argument(f"--{switch}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.add_argument("--window-size=1000,700")
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    started.set_script_timeout(SECONDS)
    yield started
    started.quit()


@pytest.fixture
def browser(driver) -> Browser:
    driver.get_log("browser")  # what was before
    return Browser(driver)


def dots(png: bytes):
    image = pytest.importorskip("PIL.Image", reason="pillow is an oracle of the tests")
    picture = image.open(io.BytesIO(png)).convert("RGB")
    return picture.size, picture.tobytes()


async def same_picture(browser: Browser, machine: Machine) -> None:
    """Wait until the page shows what `devmodel screen --png` does."""
    with trio.fail_after(SECONDS):
        while dots(await browser.picture()) != dots(await machine.png()):
            await trio.sleep(0.1)


async def test_the_page_shows_the_screens_dots_and_its_console_answers(browser):
    async with Machine("--web", "127.0.0.1:0") as machine:
        await machine.console.expect(b"demo> ")
        (url,) = WEB.findall(machine.said())
        await browser.go(url)
        await browser.until("return window.devmodel?.screen.updates")
        await same_picture(browser, machine)
        assert dots(await browser.picture())[0] == (720, 400)
        await browser.console("self-test passed")
        await browser.run("document.getElementById('tab-serial-1').click()")
        await browser.type("#serial-1", "help\n")
        await browser.console("ACPI soft off")
        await machine.console.expect(b"ACPI soft off")  # who is on the TCP console sees the same
        assert browser.complaints() == []
        await browser.type("#serial-1", "off\n")
        assert await machine.wait() == 0


async def test_a_break_from_the_page_is_sysrqs(browser, linux):
    """The button and the key, each with the key behind it that says what Linux is to do."""
    async with Machine(*linux, "--append", "console=ttyS0 quiet", "--web", "127.0.0.1:0") as machine:
        await machine.console.expect(b"userspace is up", seconds=240)
        await machine.run("echo 1 > /proc/sys/kernel/sysrq; echo 7 > /proc/sys/kernel/printk")
        (url,) = WEB.findall(machine.said())
        await browser.go(url)
        browser.complaints()  # of the page before, whose machine is gone
        await browser.console("userspace is up")
        await browser.run("document.getElementById('tab-serial-1').click()")
        await browser.run("document.getElementById('send-break').click()")
        await browser.type(":focus", "h")
        await machine.console.expect(b"sysrq: HELP :")
        await browser.run(
            """document.activeElement.dispatchEvent(
                new KeyboardEvent("keydown", {key: "Cancel", code: "Pause", ctrlKey: true}));"""
        )
        await browser.type(":focus", "h")
        await machine.console.expect(b"sysrq: HELP :")
        await browser.console("sysrq: HELP :")
        assert browser.complaints() == []


async def test_keys_in_the_page_reach_the_firmwares_shell(browser, seabios, grub_images):
    """GRUB on the screen alone echoes what is typed on the PS/2 keyboard; its screen is a graphics or text mode."""
    async with Machine(*seabios, "--disk", str(grub_images["screen"]), "--web", "127.0.0.1:0") as machine:
        (url,) = WEB.findall(machine.said())
        await browser.go(url)
        await browser.until("return window.devmodel?.screen.updates")
        with trio.fail_after(120):
            while "grub>" not in await machine.screen():
                await trio.sleep(0.3)
        await browser.type("canvas", "echo (Hi) | <>")
        with trio.fail_after(SECONDS):
            while "echo (Hi) | <>" not in await machine.screen():
                await trio.sleep(0.2)
        assert "grub>" in await machine.screen()


async def test_the_page_asks_for_a_password_where_there_is_one(browser, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    async with Machine("--web", f"127.0.0.1:0,password-file={secret}") as machine:
        await machine.console.expect(b"demo> ")
        (url,) = WEB.findall(machine.said())
        await browser.go(url)
        await browser.type("input", "wrong\n")
        await browser.until("return document.querySelector('input')?.value === ''")
        assert await browser.run("return window.devmodel === undefined")
        await browser.type("input", "open sesame\n")
        await browser.until("return window.devmodel?.screen.updates")
        await browser.console("self-test passed")


async def test_another_sites_page_can_neither_look_nor_type(browser):
    """A page that is not ours is shown by the same browser, and tries what it can."""
    async with Machine("--web", "127.0.0.1:0") as machine:
        await machine.console.expect(b"demo> ")
        (url,) = WEB.findall(machine.said())
        await browser.go("data:text/html,<title>evil</title>")
        for path in ("rfb", "serial/1"):
            script = """
                const done = arguments[arguments.length - 1];
                const socket = new WebSocket(arguments[0]);
                socket.onopen = () => done("open");
                socket.onerror = () => done("refused");
            """
            address = url.replace("http:", "ws:") + path
            seen = await trio.to_thread.run_sync(browser.driver.execute_async_script, script, address)
            assert seen == "refused"


async def test_the_page_goes_on_where_it_was_after_an_upgrade(browser):
    async with Machine(DEMO, "--web", "127.0.0.1:0", apart="core") as machine:
        await machine.console.expect(b"demo> ")
        (url,) = WEB.findall(machine.said())
        await browser.go(url)
        await browser.console("self-test passed")
        await browser.until("return window.devmodel.screen.updates")
        before = await browser.run("window.same = true; return devmodel.consoles[0].grid.text()")
        await trio.run_process(
            [sys.executable, "-m", "devmodel", "upgrade", machine.domain], capture_stderr=True
        )
        await machine.console.type(b"time\r")
        await machine.console.expect(b"demo> ")
        await browser.console("demo> time")
        after = await browser.run("return devmodel.consoles[0].grid.text()")
        begun = next(n for n, line in enumerate(before) if line.startswith("demo>"))
        assert after[:begun] == before[:begun], "nothing is shown twice"
        assert await browser.run("return window.same"), "it is the same page"
        await browser.until("return document.getElementById('state').textContent === ''")
        await same_picture(browser, machine)


@pytest.mark.parametrize("apart", ["vga", "serial"])
async def test_a_page_whose_consoles_are_another_servers_has_them_too(browser, apart):
    async with Machine(DEMO, "--web", "127.0.0.1:0", "--apart", apart) as machine:
        await machine.console.expect(b"demo> ")
        (url,) = WEB.findall(machine.said())
        await browser.go(url)
        browser.complaints()  # of the page before, whose machine is gone
        await browser.until("return window.devmodel?.screen.updates")
        await browser.console("self-test passed")
        await browser.run("document.getElementById('tab-serial-1').click()")
        await browser.type("#serial-1", "help\n")
        await browser.console("ACPI soft off")
        await machine.console.expect(b"ACPI soft off")
        assert browser.complaints() == []
        await browser.type("#serial-1", "off\n")
        assert await machine.wait() == 0


# -- the terminal, without a guest


CASES = {
    "erase, insert and delete": (
        b"abcdef\x1b[3G\x1b[2P\x1b[@X\r\n12345\x1b[2D\x1b[K",
        ["abXef", "123"],
        [3, 1],
    ),
    "scrolling region": (b"1\r\n2\r\n3\r\n4\x1b[2;3r\x1b[3;1H\n5\x1b[r", ["1", "3", "5", "4"], [0, 0]),
    "insert and delete lines": (b"1\r\n2\r\n3\x1b[2;1H\x1b[LA\x1b[1;1H\x1b[M", ["A", "2", "3"], [0, 0]),
    "wraps when the next comes": (b"x" * 80 + b"\r\ny", ["x" * 80, "y"], [1, 1]),
    "wraps": (b"x" * 81 + b"\b\b", ["x" * 80, "x"], [0, 1]),
    "scrolls into the history": (b"".join(b"%d\r\n" % n for n in range(30)), ["7", "8"], [0, 23]),
    "alternate screen": (b"shell\x1b[?1049h\x1b[Hvi\x1b[?1049l$", ["shell$"], [6, 0]),
    "line drawing": (b"\x1b(0lqk\x1b(B|", ["┌─┐|"], [4, 0]),
    "titles and unknown strings": (
        b"\x1b]0;title\x07a\x1bP1$r\x1b\\b\x1b[>4;2mc\x1b[?12hd",
        ["abcd"],
        [4, 0],
    ),
    "tabs": (b"a\tb\tc\x1b[Zd", ["a       b       d"], [17, 0]),
    "cut in the middle": (b"\xc3", [""], [0, 0]),
    "saved cursor": (b"ab\x1b7\x1b[5;5Hx\x1b8c", ["abc"], [3, 0]),
    "reverse index": (b"1\x1bM0", [" 0", "1"], [2, 0]),
    "absurd numbers": (b"\x1b[99999999999999999999;99999999Hx\x1b[9999999S\x1b[99999bz", ["x" * 80], [1, 23]),
}


@pytest.mark.parametrize(("said", "lines", "cursor"), CASES.values(), ids=CASES)
async def test_the_terminal_shows_what_a_vt100_would(page, said, lines, cursor):
    text, at = await page.run(
        """const grid = new window.Grid(80, 24, () => {});
        grid.write(Uint8Array.from(arguments[0]));
        return [grid.text(), [grid.x, grid.y]];""",
        list(said),
    )
    assert text[: len(lines)] == lines
    assert at == cursor


async def test_the_terminal_answers_and_has_colours(page):
    said = b"\x1b[31;1mred\x1b[0m \x1b[38;5;196;7mx\x1b[6n\x1b[c\x1b[5n\xe2\x82\xac"
    answers, styles, euro = await page.run(
        """const answers = [];
        const grid = new window.Grid(80, 24, (text) => answers.push(text));
        for (const byte of arguments[0]) grid.write(Uint8Array.of(byte));
        const line = grid.lines[0];
        return [answers, [line[0].style, line[4].style], line[5].character];""",
        list(said),
    )
    assert answers == ["\x1b[1;6R", "\x1b[?6c", "\x1b[0n"]
    assert (styles[0]["foreground"], styles[0]["bold"]) == ("#cd3131", True)
    assert (styles[1]["foreground"], styles[1]["inverse"], styles[1]["bold"]) == ("rgb(255,0,0)", True, False)
    assert euro == "€"


@pytest.fixture(scope="module")
def terminal_page(driver, tmp_path_factory) -> Iterator[str]:
    """Serve the page's own files, without a machine."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "terminal.js").write_bytes((PAGE / "terminal.js").read_bytes())
    (folder / "index.html").write_text(
        "<script type=module>import { Grid } from './terminal.js'; window.Grid = Grid;</script>"
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        (port,) = re.findall(r"port (\d+)", server.stdout.readline())
        driver.get(f"http://127.0.0.1:{port}/")
        yield f"http://127.0.0.1:{port}/"
        server.terminate()


@pytest.fixture
async def page(browser, terminal_page) -> Browser:
    if browser.driver.current_url != terminal_page:
        await browser.go(terminal_page)
    await browser.until("return window.Grid !== undefined")
    return browser


def test_the_keys_that_the_page_knows_are_those_of_viewers(browser, driver):
    """The table of the page is that of the server, which has names for all codes."""
    from devmodel.display.keysyms import SCAN_CODES

    source = (PAGE / "keys.js").read_text().replace("export ", "")
    driver.get("data:text/html,")
    codes = json.loads(driver.execute_script(source + "return JSON.stringify([...SCAN_CODES])"))
    assert {code for _, code in codes} == set(SCAN_CODES)
    assert len(dict(codes)) == len(codes) == len(SCAN_CODES)
