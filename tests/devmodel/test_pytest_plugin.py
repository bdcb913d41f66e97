"""The pytest plugin, as whoever installs the package has it: a suite of his own, run by pytest."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from devmodel.service.trace import Filter, open_trace

INI = "[pytest]\ntrio_mode = true\nfilterwarnings = error\n"
DEMO = "demo> "


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty project, whose tests run in a process of their own."""
    monkeypatch.delenv("DEVMODEL_NO_SKIP", raising=False)
    pytester.makefile(".ini", pytest=INI)
    return pytester


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return suite.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def test_a_machine_serves_trio_asyncio_and_plain_functions_alike(suite):
    suite.makepyfile(
        """
        import anyio
        import pytest

        async def test_trio(machine, console):
            assert console is machine.console
            await console.expect("demo> ")
            assert "devmodel demo guest" in await machine.screen()

        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_asyncio(machine, anyio_backend):
            await machine.console.expect(["no such thing", b"demo> "])
            async with machine.paused():
                assert await machine.registers() == await machine.registers()

        def test_plain(machine):
            anyio.run(machine.console.expect, "demo> ")
        """
    )
    result = run(suite, "--devmodel-vendor=svm")
    result.assert_outcomes(passed=3)


def test_each_test_with_a_machine_runs_once_a_vendor_if_that_is_wanted(suite):
    suite.makepyfile(
        """
        async def test_vendor(boot, devmodel_vendor):
            machine = await boot()
            assert f"--vendor={devmodel_vendor}" in machine.arguments
            await machine.console.expect("demo> ")

        def test_nothing(): ...
        """
    )
    result = run(suite, "--devmodel-vendor=both", "-v")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        ["*test_vendor?vmx? PASSED*", "*test_vendor?svm? PASSED*", "*test_nothing PASSED*"]
    )


def test_the_command_line_says_what_every_machine_is_whatever_its_test_says(suite):
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.machine(memory="64M", cpu="486")
        async def test_options(boot):
            machine = await boot()
            assert {"--memory=32M", "--cpu=i686", "--fw-cfg=a=b"} <= set(machine.arguments)
        """
    )
    options = ("memory=32M", "cpu=i686", 'fw_cfg={"a": "b"}')
    run(suite, *(f"--devmodel-option={option}" for option in options)).assert_outcomes(passed=1)
    wrong = run(suite, "--devmodel-option=memory")
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(["*--devmodel-option 'memory'; allowed: NAME=VALUE"])


def test_what_a_machine_leaves_is_kept_and_shown_where_a_test_failed(suite, monkeypatch):
    scratch = Path(tempfile.mkdtemp())  # a short path, since sockets have no long ones
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    suite.makepyfile(
        """
        import pytest
        from devmodel.testing import Machine

        async def test_fixture(machine):
            await machine.console.expect("demo> ")
            await machine.console.expect("never said", 0.1)

        async def test_own_block():
            async with Machine(trace=True) as machine:
                await machine.console.expect("demo> ")
                assert 1 == 2

        async def test_passes(machine):
            await machine.console.expect("demo> ")
        """
    )
    artifacts = suite.path / "kept"
    result = run(suite, f"--devmodel-artifacts={artifacts}", "--devmodel-trace", "--junit-xml=report.xml")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*devmodel: console*",
            "*self-test passed at*",
            "*devmodel: screen*",
            "*devmodel: kept*",
            f"{artifacts}*: console.txt*",
        ]
    )
    names = {folder.name.partition("py-")[2]: folder for folder in artifacts.iterdir()}
    assert sorted(names) == ["test_fixture", "test_own_block"]
    for folder in names.values():
        assert b"self-test passed" in (folder / "console.txt").read_bytes()
        assert "devmodel demo guest" in (folder / "screen.txt").read_text()
        with open_trace(str(folder / "requests.trace")) as trace:
            assert any(event.device == "uart" for event in trace.select(Filter()))
    assert (names["test_fixture"] / "screen.png").read_bytes().startswith(b"\x89PNG")
    kept = re.findall(r'<property name="devmodel" value="([^"]*)"', (suite.path / "report.xml").read_text())
    assert {Path(path).name for path in kept} >= {"console.txt", "requests.trace"}
    scratch.rmdir()  # there is nothing left, nor a trace of the test that passed


def test_nothing_is_kept_if_nothing_is_wanted_and_all_if_all_is(suite):
    suite.makepyfile(
        """
        async def test_passes(machine):
            await machine.console.expect("demo> ")

        async def test_fails(machine):
            assert not await machine.console.expect("demo> ")
        """
    )
    none = run(suite, "--devmodel-keep=none", f"--devmodel-artifacts={suite.path / 'none'}")
    none.assert_outcomes(passed=1, failed=1)
    assert not (suite.path / "none").exists()
    run(suite, "--devmodel-keep=all", f"--devmodel-artifacts={suite.path / 'all'}")
    assert len(list((suite.path / "all").iterdir())) == 2


SHARED = """
    import os
    import pytest

    pytestmark = pytest.mark.machine(shared=True)
    pids = []

    async def test_first(machine, console):
        await console.expect("demo> ")
        await console.type("time\\r")
        pids.append(machine.server.pid)

    async def test_second(machine, console):
        await console.type("time\\r")
        await console.expect("demo> ")
        assert pids == [machine.server.pid]
        await console.type("off\\r")
        await machine.wait()

    async def test_after_its_end(machine, console):
        assert machine.server.pid not in pids
        await console.expect("demo> ")
    """


def test_a_shared_machine_goes_on_from_test_to_test_and_is_replaced_when_it_has_ended(suite):
    suite.makepyfile(SHARED)
    result = run(suite)
    result.assert_outcomes(passed=3)


def test_under_xdist_each_worker_has_its_machines_and_reports_of_all_say_what_they_left(suite):
    suite.makepyfile(
        test_shared=SHARED,
        test_other="""
        import pytest

        async def test_own(machine):
            await machine.console.expect("demo> ")
            assert 1 == 2
        """,
    )
    result = suite.runpytest_subprocess(
        "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile", timeout=120
    )
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*devmodel: console*", "*self-test passed*"])


def test_those_who_share_a_machine_are_a_group_of_xdists(suite):
    suite.makeconftest(
        """
        def pytest_collection_finish(session):
            for item in session.items:
                print(item.name, *(mark.args[0] for mark in item.iter_markers("xdist_group")))
        """
    )
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.machine(memory="8M", shared=True)
        def test_shares(): ...

        @pytest.mark.machine(memory="8M")
        def test_does_not(): ...
        """
    )
    result = run(suite, "--collect-only", "-s")
    result.stdout.fnmatch_lines(["test_shares devmodel memory='8M'", "test_does_not"])


def test_a_board_is_put_on_a_bench_and_into_a_machine_by_one_mark(suite):
    suite.makepyfile(
        my_board="""
        class Chip:
            def __init__(self, value):
                self.value = value

            def read(self, offset, size):
                return self.value

            def write(self, offset, size, value):
                pass

        def build(board, *, value="5"):
            board.add(Chip(int(value)), name="chip", ports=0x500)
        """,
        test_board="""
        import pytest
        from my_board import build

        pytestmark = pytest.mark.board(build=build, value="7")

        def test_on_a_bench(bench):
            assert bench.inp(0x500) == 7

        async def test_in_a_machine(machine):
            await machine.console.expect("demo> ")
            assert await machine.inp(0x500) == 7
        """,
    )
    run(suite).assert_outcomes(passed=2)


def test_options_for_all_machines_are_a_fixture_and_the_mark_comes_before_it(suite):
    suite.makeconftest(
        """
        import pytest

        @pytest.fixture
        def machine_options():
            return {"memory": "8M", "cpu": "486"}
        """
    )
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.machine(memory=16 << 20)
        async def test_options(boot):
            machine = await boot(cpu="pentium")
            assert machine.arguments == ["--vendor=vmx", f"--memory={16 << 20}", "--cpu=pentium"]
        """
    )
    run(suite).assert_outcomes(passed=1)


def test_a_mistake_is_told_as_the_command_tells_it(suite):
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.machine(colour="red")
        async def test_no_such_option(machine): ...

        @pytest.mark.machine(kernel="no-such-kernel")
        async def test_no_such_file(machine): ...
        """
    )
    result = run(suite)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines_random(
        [
            "*TypeError: a machine has no option 'colour'; it has machine, vendor, *",
            "*exit status 2 before a serial console came*",
            "*hvcore: *no-such-kernel*",
        ]
    )


def test_a_run_without_machines_waits_for_nothing_of_ours(tmp_path):
    program = """
import sys, pytest

class Plugin:
    def pytest_sessionfinish(self):
        print("SEEN", sorted({"devmodel.testing", "devmodel.cli", "structlog"} & set(sys.modules)))

plain = ["-p", "no:trio", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", "/"]
pytest.main(["-q", *plain, "--collect-only", "nothing"], plugins=[Plugin()])
"""
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.search(r"SEEN \[\]", found.stdout), found.stdout
