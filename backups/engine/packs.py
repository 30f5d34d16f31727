"""Packs: objects of up to 64 MiB that hold the chunks of a run one after the other.

A pack is written once, never overwritten, and can be read in pieces.
"""

import hashlib
import hmac
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any, Protocol

import zstandard

from backups.engine.encryption import BlobEncryptor, decrypt_slice
from backups.engine.errors import Damaged

PACK_BYTES = 64 << 20
MAX_PENDING_BYTES = PACK_BYTES // 8  # compressed data of one chunk that is held before it is written
DECRYPT_SLICE_BYTES = 4 << 20
# Decompressed in pieces of this size, because repetitive data grows up to a thousandfold.
DECOMPRESS_INPUT_BYTES = 1 << 16
ZSTD_LEVEL = 1  # faster than any network, and as small as gzip
GZIP_LEVEL = 6
GZIP_WINDOW_BITS = 31  # zlib writes and reads the header of gzip with this value
GZIP_MAGIC = b"\x1f\x8b"


class Compressor(Protocol):
    """Compresses a chunk, block by block."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Decompressor(Protocol):
    """Decompresses a chunk, block by block."""

    def decompress(self, data: bytes, /) -> bytes: ...


def new_compressor(compression: str) -> Compressor:
    """Return a compressor. `compression` is "zstd" or "gzip"."""
    if compression == "gzip":
        return zlib.compressobj(GZIP_LEVEL, wbits=GZIP_WINDOW_BITS)
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()


def new_decompressor(first_bytes: bytes) -> Decompressor:
    """Return the decompressor for a chunk that begins with these bytes."""
    if first_bytes.startswith(GZIP_MAGIC):
        return zlib.decompressobj(wbits=GZIP_WINDOW_BITS)
    return zstandard.ZstdDecompressor().decompressobj()


class Store(Protocol):
    """The object store for packs and manifests. `core.storage.object_store` has a folder and S3."""

    def create(self, key: str, body: bytes | bytearray) -> None: ...
    def read(self, key: str) -> bytes | None: ...
    def delete(self, key: str) -> None: ...
    def keys(self, prefix: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Stored data: its id (HMAC-SHA-256 of the content), its uncompressed size in bytes, and its pieces.

    A piece is (pack, offset, length) within the decrypted pack.
    """

    id: str
    size: int
    pieces: tuple[tuple[str, int, int], ...]

    def to_json(self) -> list[Any]:
        return [self.id, self.size, [list(piece) for piece in self.pieces]]

    @staticmethod
    def from_json(data: list[Any]) -> "Chunk":
        pieces = tuple((str(pack), int(offset), int(length)) for pack, offset, length in data[2])
        return Chunk(str(data[0]), int(data[1]), pieces)


@dataclass
class PackWriter:
    """Writes the chunks of a run. Several threads may use it.

    A background thread uploads a full pack while the next one fills, so at most two packs are in memory.
    `raise_if_stopped` raises when the run is cancelled.
    """

    store: Store
    run_id: str
    key: bytes
    id_key: bytes
    raise_if_stopped: Callable[[], None] = lambda: None
    compression: str = "zstd"  # or "gzip"
    packs: dict[str, tuple[str, int]] = field(default_factory=dict)  # SHA-256 and size of uploaded packs
    _pack: bytearray = field(default_factory=bytearray)
    _filled: int = 0
    _pack_number: int = 0
    _encryptor: BlobEncryptor | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _executor: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _upload: "Future[None] | None" = None

    def write_chunk(self, blocks: Iterable[bytes]) -> Chunk:
        """Compress and store the blocks as one chunk. Raises what the store and `raise_if_stopped` raise.

        Compression runs in the calling thread. Only one thread at a time appends to the pack, so the pieces
        that are written together are contiguous.
        """
        digest = hmac.new(self.id_key, digestmod=hashlib.sha256)
        size = 0
        compressor = new_compressor(self.compression)
        pieces: list[tuple[str, int, int]] = []
        pending: list[bytes] = []
        pending_bytes = 0
        for block in blocks:
            digest.update(block)
            size += len(block)
            pending.append(compressor.compress(block))
            pending_bytes += len(pending[-1])
            if pending_bytes > MAX_PENDING_BYTES:  # a range with large values must not fill the memory
                pieces += self._append(b"".join(pending))
                pending = []
                pending_bytes = 0
        pending.append(compressor.flush())
        pieces += self._append(b"".join(pending))
        return Chunk(digest.hexdigest(), size, tuple(pieces))

    def _append(self, data: bytes) -> list[tuple[str, int, int]]:
        pieces = []
        with self._lock:
            while data:
                if self._encryptor is None:
                    self._open_pack()
                assert self._encryptor is not None
                part = data[: PACK_BYTES - self._filled]
                pieces.append((self._pack_name, self._filled, len(part)))
                self._pack += self._encryptor.update(part)
                self._filled += len(part)
                data = data[len(part) :]
                if self._filled == PACK_BYTES:
                    self._close_pack()
        return pieces

    @property
    def _pack_name(self) -> str:
        return f"packs/{self.run_id}/{self._pack_number:06d}"

    def _open_pack(self) -> None:
        self._pack_number += 1
        self._encryptor = BlobEncryptor(self.key, self._pack_name)
        self._filled = 0
        self._pack = bytearray(self._encryptor.header())

    def _close_pack(self) -> None:
        assert self._encryptor is not None
        self._pack += self._encryptor.finalize()
        self._wait_for_upload()
        self._upload = self._executor.submit(self._upload_pack, self._pack_name, self._pack)
        self._encryptor = None
        self._pack = bytearray()

    def _upload_pack(self, name: str, pack: bytearray) -> None:
        self.store.create(name, pack)
        self.packs[name] = (hashlib.sha256(pack).hexdigest(), len(pack))

    def _wait_for_upload(self) -> None:
        """Wait until the previous pack is stored. Raises what the store and `raise_if_stopped` raise."""
        while upload := self._upload:
            self.raise_if_stopped()
            try:
                upload.result(timeout=0.5)
                self._upload = None
            except TimeoutError:
                if upload.done():  # the store raised it
                    raise

    def finish(self) -> None:
        """Upload the last pack and wait for it. Raises what the store and `raise_if_stopped` raise."""
        with self._lock:
            if self._encryptor is not None:
                self._close_pack()
            self._wait_for_upload()

    def close(self) -> None:
        """Cancel uploads that have not begun, without waiting."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class SpooledPack:
    """A pack in an unnamed temporary file. Slices are read from the file, which saves memory."""

    def __init__(self, folder: Path, blob: bytes) -> None:
        self.file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed together with this object
        self.file.write(blob)
        self.file.flush()
        self.size = len(blob)

    def __del__(self) -> None:
        self.file.close()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, position: slice) -> bytes:
        start, stop, _ = position.indices(self.size)
        return os.pread(self.file.fileno(), max(0, stop - start), start)


@dataclass
class PackReader:
    """Reads chunks. Several threads may use it.

    `data_key_of` returns the data key of a run id. `digests` holds the SHA-256 of each pack. Up to
    `max_cached_bytes` of encrypted packs are kept in temporary files in `folder`.
    """

    store: Store
    data_key_of: Callable[[str], bytes]
    digests: dict[str, str]
    max_cached_bytes: int = 4 << 30
    folder: Path = field(default_factory=lambda: Path(gettempdir()))
    _packs: OrderedDict[str, SpooledPack] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def iter_blocks(self, chunk: Chunk) -> Iterator[bytes]:
        """Yield the content of a chunk, block by block.

        Raises Damaged and KeyMissing, in the worst case only after the last block. Callers must be able to
        undo what they did with earlier blocks.
        """
        decompressor: Decompressor | None = None
        size = 0
        try:
            for part in self._decrypted_parts(chunk):
                decompressor = decompressor or new_decompressor(part)
                for start in range(0, len(part), DECOMPRESS_INPUT_BYTES):
                    block = decompressor.decompress(part[start : start + DECOMPRESS_INPUT_BYTES])
                    size += len(block)
                    yield block
        except (zstandard.ZstdError, zlib.error):
            raise Damaged(f"A chunk in {chunk.pieces[0][0]} does not decompress.") from None
        if size != chunk.size:
            raise Damaged(f"A chunk in {chunk.pieces[0][0]} has {size} bytes where {chunk.size} were stored.")

    def _decrypted_parts(self, chunk: Chunk) -> Iterator[bytes]:
        for name, offset, length in chunk.pieces:
            run_id = name.split("/")[1]
            for start in range(0, length, DECRYPT_SLICE_BYTES):
                part_length = min(DECRYPT_SLICE_BYTES, length - start)
                pack = self.fetch_pack(name)
                yield decrypt_slice(self.data_key_of(run_id), name, pack, offset + start, part_length)

    def read_chunk(self, chunk: Chunk) -> bytes:
        """Return the whole content of a chunk. Raises Damaged, KeyMissing."""
        return b"".join(self.iter_blocks(chunk))

    def fetch_pack(self, name: str) -> SpooledPack:
        """Return an encrypted pack whose SHA-256 is right. Fetches one pack at a time. Raises Damaged."""
        with self._lock:
            if name in self._packs:
                self._packs.move_to_end(name)
                return self._packs[name]
            blob = self.store.read(name)
            if blob is None:
                raise Damaged(f"{name} is missing.")
            if name not in self.digests or hashlib.sha256(blob).hexdigest() != self.digests[name]:
                raise Damaged(f"{name} differs from what was stored.")
            while self._packs and sum(map(len, self._packs.values())) + len(blob) > self.max_cached_bytes:
                self._packs.popitem(last=False)
            self._packs[name] = SpooledPack(self.folder, blob)
            return self._packs[name]
