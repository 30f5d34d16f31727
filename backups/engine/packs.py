"""Packs: objects of up to 64 MiB that hold the chunks of a run one after the other.

Never overwritten, and read a piece at a time.
"""

import hashlib
import hmac
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any, Protocol

import zstandard

from backups.engine.encryption import Sealer, open_part
from backups.engine.errors import Damaged

PACK = 64 << 20
FED = 1 << 16  # bytes that are decompressed at once: what repeats itself becomes a thousand times as long
LEVEL = 1  # of zstd: faster than any network, and as small as gzip


class Store(Protocol):
    """Where packs and manifests go; `core.storage.object_store` has a folder and S3."""

    def create(self, key: str, body: bytes | bytearray) -> None: ...
    def read(self, key: str) -> bytes | None: ...
    def delete(self, key: str) -> None: ...
    def keys(self, prefix: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Something that was stored: its id (HMAC-SHA-256 of what it says), its size, and its pieces: pack,
    offset and length within it.
    """

    id: str
    size: int
    pieces: tuple[tuple[str, int, int], ...]

    def packed(self) -> list[Any]:
        return [self.id, self.size, [list(piece) for piece in self.pieces]]

    @staticmethod
    def read(found: list[Any]) -> "Chunk":
        pieces = tuple((str(pack), int(offset), int(length)) for pack, offset, length in found[2])
        return Chunk(str(found[0]), int(found[1]), pieces)


@dataclass
class PackWriter:
    """Takes chunks of a run, from several threads.

    A full pack is sent by a thread of its own while the next one fills, so at most two are in memory. `step`
    raises when the run is to stop; `sent` has the SHA-256 and size of each pack.
    """

    store: Store
    run: str
    key: bytes
    id_key: bytes
    step: Callable[[], None] = lambda: None
    sent: dict[str, tuple[str, int]] = field(default_factory=dict)
    _pack: bytearray = field(default_factory=bytearray)
    _filled: int = 0
    _opened: int = 0
    _sealer: Sealer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sender: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _sending: "Future[None] | None" = None

    def put(self, blocks: Iterable[bytes]) -> Chunk:
        """Compress and store what these say together.

        A chunk's pieces follow each other, so one thread writes at a time what another compressed.
        """
        digest = hmac.new(self.id_key, digestmod=hashlib.sha256)
        size = 0
        compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        pieces: list[tuple[str, int, int]] = []
        pending: list[bytes] = []
        waiting = 0
        for block in blocks:
            digest.update(block)
            size += len(block)
            pending.append(compressor.compress(block))
            waiting += len(pending[-1])
            if waiting > PACK // 8:  # a range with large values must not fill the memory
                pieces += self._write(b"".join(pending))
                pending = []
                waiting = 0
        pending.append(compressor.flush())
        pieces += self._write(b"".join(pending))
        return Chunk(digest.hexdigest(), size, tuple(pieces))

    def _write(self, packed: bytes) -> list[tuple[str, int, int]]:
        pieces = []
        with self._lock:
            while packed:
                if self._sealer is None:
                    self._open()
                assert self._sealer is not None
                part = packed[: PACK - self._filled]
                pieces.append((self._name, self._filled, len(part)))
                self._pack += self._sealer.add(part)
                self._filled += len(part)
                packed = packed[len(part) :]
                if self._filled == PACK:
                    self._send()
        return pieces

    @property
    def _name(self) -> str:
        return f"packs/{self.run}/{self._opened:06d}"

    def _open(self) -> None:
        self._opened += 1
        self._sealer = Sealer(self.key, self._name)
        self._filled = 0
        self._pack = bytearray(self._sealer.header())

    def _send(self) -> None:
        assert self._sealer is not None
        self._pack += self._sealer.finish()
        self._wait()
        self._sending = self._sender.submit(self._create, self._name, self._pack)
        self._sealer = None
        self._pack = bytearray()

    def _create(self, name: str, pack: bytearray) -> None:
        self.store.create(name, pack)
        self.sent[name] = (hashlib.sha256(pack).hexdigest(), len(pack))

    def _wait(self) -> None:
        """Until the pack before is stored. Raises what the store raised, what `step` raises."""
        while sending := self._sending:
            self.step()
            try:
                sending.result(timeout=0.5)
                self._sending = None
            except TimeoutError:
                if sending.done():  # it was the store's
                    raise

    def finish(self) -> None:
        with self._lock:
            if self._sealer is not None:
                self._send()
            self._wait()

    def close(self) -> None:
        """Wait for nothing that has not begun."""
        self._sender.shutdown(wait=False, cancel_futures=True)


class Spooled:
    """A pack in a file without a name, of which pieces are read: in memory it would be too much."""

    def __init__(self, folder: Path, blob: bytes) -> None:
        self.file = TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as this
        self.file.write(blob)
        self.file.flush()
        self.size = len(blob)

    def __del__(self) -> None:
        self.file.close()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: slice) -> bytes:
        start, stop, _ = place.indices(self.size)
        return os.pread(self.file.fileno(), max(0, stop - start), start)


@dataclass
class PackReader:
    """Gives chunks back.

    `key_of` knows the data key of a run, `sums` the SHA-256 of packs. Keeps up to `most` bytes of packs, as
    they are stored, in files that are gone with it; for several threads.
    """

    store: Store
    key_of: Callable[[str], bytes]
    sums: dict[str, str]
    most: int = 4 << 30
    folder: Path = field(default_factory=lambda: Path(gettempdir()))
    _packs: OrderedDict[str, Spooled] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def blocks(self, chunk: Chunk) -> Iterator[bytes]:
        """What was stored, a block at a time.

        Raises Damaged, KeyMissing; at the latest after the last block, so use nothing before that cannot be
        undone.
        """
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        size = 0
        try:
            for name, offset, length in chunk.pieces:
                for start in range(0, length, 4 << 20):
                    part = open_part(
                        self._key(name), name, self.pack(name), offset + start, min(4 << 20, length - start)
                    )
                    for place in range(0, len(part), FED):
                        block = decompressor.decompress(part[place : place + FED])
                        size += len(block)
                        yield block
        except zstandard.ZstdError:
            raise Damaged(f"A chunk in {chunk.pieces[0][0]} does not decompress.") from None
        if size != chunk.size:
            raise Damaged(f"A chunk in {chunk.pieces[0][0]} has {size} bytes where {chunk.size} were stored.")

    def whole(self, chunk: Chunk) -> bytes:
        return b"".join(self.blocks(chunk))

    def _key(self, name: str) -> bytes:
        return self.key_of(name.split("/")[1])

    def pack(self, name: str) -> Spooled:
        """A pack, as it was stored. One is fetched at a time. Raises Damaged."""
        with self._lock:
            if name in self._packs:
                self._packs.move_to_end(name)
                return self._packs[name]
            blob = self.store.read(name)
            if blob is None:
                raise Damaged(f"{name} is missing.")
            if name not in self.sums or hashlib.sha256(blob).hexdigest() != self.sums[name]:
                raise Damaged(f"{name} is not what was stored.")
            while self._packs and sum(map(len, self._packs.values())) + len(blob) > self.most:
                self._packs.popitem(last=False)
            self._packs[name] = Spooled(self.folder, blob)
            return self._packs[name]
