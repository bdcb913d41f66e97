"""A matrix on a Dask cluster: workers have devmodel, and files travel to them by content hash, once each.

A worker keeps files in `$XDG_CACHE_HOME/devmodel/images`, by their SHA-256. A cell that finds one missing says so:
it is sent to every worker that lacks it, and the cell is run again. A worker that dies costs its cells a retry.
"""

import contextlib
import functools
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from devmodel import VERSION, ConfigError, DevmodelError
from devmodel.matrix import cell as cells_
from devmodel.matrix.cell import Outcome
from devmodel.matrix.plan import Boot, Cell, Test
from devmodel.matrix.report import Progress

PIECE: Final = 8 << 20
"""Bytes of a file in one message."""
RETRIES: Final = 3
"""How often a cell is run again whose worker has died."""
PATIENCE: Final = 30.0
"""Seconds in which the scheduler must answer, and have a worker."""


class Missing(DevmodelError):  # noqa: N818  (it is an answer)
    """A worker lacks a file."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"no file with the hash {digest}")
        self.digest = digest

    def __reduce__(self) -> tuple[type["Missing"], tuple[str]]:
        return Missing, (self.digest,)


# -- at a worker ------------------------------------------------------------------------------------------


def cache() -> Path:
    """Return where files are kept here."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "devmodel", "images")


def version() -> str:
    """Return what of devmodel is here."""
    return VERSION


def lacks(digests: Sequence[str]) -> list[str]:
    """Return which of these files are not here."""
    return [digest for digest in digests if not (cache() / digest).is_file()]


def store(digest: str, token: str, offset: int, data: bytes, *, last: bool) -> None:
    """Put a piece of a file where it will be; with the `last`, see that it is whole.

    Raises:
        DevmodelError: it is not what its hash says.

    """
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{digest}.{token}"
    with part.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(data)
    if last:
        if digest_of(part) != digest:
            part.unlink()
            raise DevmodelError(f"a file with the hash {digest} did not arrive whole")
        part.rename(folder / digest)


def work(packed: bytes, digests: Mapping[str, str]) -> bytes:
    """Run a cell whose files are known by their hashes; return the outcome.

    Raises:
        Missing: one is not here.

    """
    cell = msgspec.msgpack.decode(packed, type=_Packed).cell()
    for digest in digests.values():
        if not (cache() / digest).is_file():
            raise Missing(digest)
    with _named(digests) as where:
        return msgspec.msgpack.encode(trio.run(cells_.run, cell.moved(where)))


@contextlib.contextmanager
def _named(digests: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Give each file its own name again, in a directory of links: a test's name is more than its content."""
    where = {}
    with tempfile.TemporaryDirectory(prefix="devmodel-files-") as files:
        for number, (path, digest) in enumerate(digests.items()):
            link = Path(files, str(number), os.path.basename(path))
            link.parent.mkdir()
            link.symlink_to(cache() / digest)
            where[path] = str(link)
        yield where


# -- at home ----------------------------------------------------------------------------------------------


class _Packed(msgspec.Struct):
    """A cell as it travels."""

    name: str
    axes: dict[str, str]
    options: dict[str, Any]
    boot: Boot | None = None
    test: Test | None = None

    def cell(self) -> Cell:
        chosen = self.boot or self.test
        assert chosen is not None
        return Cell(self.name, self.axes, self.options, chosen)


def pack(cell: Cell) -> bytes:
    """Return a cell as it travels."""
    is_boot = isinstance(cell.work, Boot)
    packed = {
        "name": cell.name,
        "axes": cell.axes,
        "options": cell.options,
        "boot" if is_boot else "test": cell.work,
    }
    return msgspec.msgpack.encode(packed)


@functools.cache
def digest_of(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_all(cells: Sequence[Cell], progress: Progress, address: str) -> dict[str, Outcome]:
    """Run all cells on the workers of a scheduler, and return what came of each, by name.

    Raises:
        ConfigError: there is no such scheduler, it has no workers, or they lack devmodel; or we lack Dask.

    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise ConfigError("a cluster wants Dask: pip install 'devmodel[cluster]'") from error
    digests = {cell.name: {path: digest_of(path) for path in cell.paths()} for cell in cells}
    paths = {digest: path for files in digests.values() for path, digest in files.items()}
    outcomes: dict[str, Outcome] = {}
    try:
        client: Any = Client(address, timeout=PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"no scheduler answers on {address}: {error}") from error
    with client:
        _check(client, address)
        _send(client, paths)

        def submit(cell: Cell) -> Any:
            return client.submit(work, pack(cell), digests[cell.name], retries=RETRIES, pure=False)

        running = {submit(cell): cell for cell in cells}
        for cell in cells:
            progress.began(cell)
        finished: Any = as_completed(list(running), loop=client.loop)  # type: ignore[no-untyped-call]
        for future in finished:
            cell = running.pop(future)
            failed = future.exception()
            if isinstance(failed, Missing) and failed.digest in paths:
                _send(client, {failed.digest: paths[failed.digest]})  # a worker that has come since
                again = submit(cell)
                running[again] = cell
                finished.add(again)
                continue
            if failed is None:
                outcome = msgspec.msgpack.decode(future.result(), type=Outcome)
            else:
                outcome = Outcome("error", 0.0, f"{type(failed).__name__}: {failed}".partition("\n")[0])
            outcomes[cell.name] = outcome
            progress.ended(cell, outcome)
    return outcomes


def _check(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        raise ConfigError(f"the scheduler on {address} has no workers") from error
    found = client.run(version, on_error="return")
    for worker, answer in found.items():
        if answer != VERSION:
            said = f"devmodel {answer}" if isinstance(answer, str) else "no devmodel that works"
            raise ConfigError(f"the worker {worker} has {said}; needed: devmodel {VERSION}")


def _send(client: Any, paths: Mapping[str, str]) -> None:
    """Send files to every worker that lacks them."""
    for worker, missing in client.run(lacks, list(paths), on_error="ignore").items():
        for digest in missing:
            token, size = uuid.uuid4().hex, os.path.getsize(paths[digest])
            with open(paths[digest], "rb") as file:
                while True:
                    offset = file.tell()
                    data = file.read(PIECE)
                    last = file.tell() >= size
                    client.run(
                        store, digest, token, offset, data, last=last, workers=[worker], on_error="return"
                    )
                    if last:
                        break
