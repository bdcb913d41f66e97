"""The wire from its document: a server in C beside `devmodel serve`, and a guest that uses both."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ioreq import VERSION

SOURCE = Path(__file__).with_name("server.c")
PORT, IRQ = 0x5A0, 5
DOCUMENTED = 2
"""The version that docs/wire.md describes; server.c is written for that one."""

GUEST = bytes.fromhex(
    "fa"  #             7c00      cli
    "c7069400 5b7c"  #  7c01      mov word [25h * 4], handler
    "c7069600 0000"  #  7c07      mov word [25h * 4 + 2], 0
    "b011 e620"  #      7c0d      mov al, 11h; out 20h, al      ICW1
    "b020 e621"  #      7c11      mov al, 20h; out 21h, al      ICW2: vectors from 20h
    "b004 e621"  #      7c15      mov al, 4;   out 21h, al      ICW3
    "b001 e621"  #      7c19      mov al, 1;   out 21h, al      ICW4
    "b0df e621"  #      7c1d      mov al, dfh; out 21h, al      all masked but IRQ 5
    "baa005"  #         7c21      mov dx, 5a0h
    "31db"  #           7c24      xor bx, bx                    round
    "88d8"  #           7c26 next: mov al, bl
    "c606007f00"  #     7c28      mov byte [7f00h], 0           no interrupt yet
    "ee"  #             7c2d      out dx, al
    "fb"  #             7c2e wait: sti
    "f4"  #             7c2f      hlt
    "fa"  #             7c30      cli
    "803e007f01"  #     7c31      cmp byte [7f00h], 1
    "75f6"  #           7c36      jne wait
    "a0017f"  #         7c38      mov al, [7f01h]               what the handler read
    "f6d0"  #           7c3b      not al
    "38d8"  #           7c3d      cmp al, bl
    "750f"  #           7c3f      jne bad
    "43"  #             7c41      inc bx
    "83fb64"  #         7c42      cmp bx, 100
    "72df"  #           7c45      jb next
    "ec"  #             7c47      in al, dx                     ~1fh, with no interrupt asked for
    "3c9c"  #           7c48      cmp al, 9ch
    "7504"  #           7c4a      jne bad
    "b015"  #           7c4c      mov al, 15h                   good: exit status 43
    "eb02"  #           7c4e      jmp out
    "b001"  #           7c50 bad: mov al, 1                     exit status 3
    "e6f4"  #           7c52 out: out f4h, al
    "f4"  #             7c54      hlt
    "ebfd"  #           7c55      jmp -1
    "90909090"  #       7c57
    "50"  #             7c5b handler: push ax
    "ec"  #             7c5c      in al, dx                     the line falls
    "a2017f"  #         7c5d      mov [7f01h], al
    "fe06007f"  #       7c60      inc byte [7f00h]
    "b020 e620"  #      7c64      mov al, 20h; out 20h, al      EOI
    "58"  #             7c68      pop ax
    "cf"  #             7c69      iret
)
GOOD = 2 * 0x15 + 1


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled server."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    program = tmp_path_factory.mktemp("wire") / "server"
    warnings = ["-Wall", "-Wextra", "-Werror"]
    version = f"-DWIRE_VERSION={DOCUMENTED}"
    subprocess.run([compiler, "-std=c11", "-O2", *warnings, version, "-o", program, SOURCE], check=True)
    return str(program)


class Processes:
    """What a test started; all of it ends with the test."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.started.append(process)
        return process


@pytest.fixture
def processes() -> Iterator[Processes]:
    processes = Processes()
    yield processes
    for process in processes.started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def until(there, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_server_is_written_for_the_version_that_is_spoken():
    assert VERSION == DOCUMENTED


@pytest.mark.parametrize("vendor", ["vmx", "svm"])
def test_a_guest_uses_a_server_in_c_beside_the_board(server, processes, tmp_path, vendor):
    image, domain = tmp_path / "image", str(tmp_path / "domain")
    image.write_bytes(GUEST)
    core = processes.start(
        *(sys.executable, "-m", "hvcore", "run", "--image", str(image), "--vendor", vendor, "--no-reboot"),
        *("--servers", "2", "--domain", domain),
    )
    until(lambda: os.path.exists(domain), core)
    board = processes.start(sys.executable, "-m", "devmodel", "serve", "--domain", domain)
    foreign = processes.start(server, domain, hex(PORT), str(IRQ))
    assert core.wait(60) == GOOD, core.communicate()
    assert foreign.wait(60) == 0, foreign.communicate()
    assert board.wait(60) == GOOD, board.communicate()
    assert [process.communicate()[1] for process in processes.started] == ["", "", ""]


RESETTING_GUEST = bytes.fromhex(
    "baa005"  #         7c00      mov dx, 5a0h
    "803e007f00"  #     7c03      cmp byte [7f00h], 0           RAM outlives a reset
    "750d"  #           7c08      jne again
    "fe06007f"  #       7c0a      inc byte [7f00h]
    "b077 ee"  #        7c0e      mov al, 77h; out dx, al       the line rises
    "0f011e107f"  #     7c11      lidt [7f10h]                  of length zero
    "cc"  #             7c16      int3                          a triple fault
    "ec"  #             7c17 again: in al, dx                   ~0: the latch is as after power-on
    "3cff"  #           7c18      cmp al, ffh
    "b015"  #           7c1a      mov al, 15h
    "7402"  #           7c1c      je out
    "b001"  #           7c1e      mov al, 1
    "e6f4"  #           7c20 out: out f4h, al
    "f4"  #             7c22      hlt
)


def test_a_server_in_c_resets_with_the_machine(server, processes, tmp_path):
    image, domain = tmp_path / "image", str(tmp_path / "domain")
    image.write_bytes(RESETTING_GUEST)
    core = processes.start(
        *(sys.executable, "-m", "hvcore", "run", "--image", str(image), "--servers", "2", "--domain", domain),
    )
    until(lambda: os.path.exists(domain), core)
    foreign = processes.start(server, domain, hex(PORT), str(IRQ))
    processes.start(sys.executable, "-m", "devmodel", "serve", "--domain", domain)
    assert core.wait(60) == GOOD, core.communicate()
    assert foreign.wait(60) == 0, foreign.communicate()
