"""An RO-Crate 1.1 in a zip file: written so that the same files give the same bytes, read as a stranger's.

Laws:
    * Nothing is unpacked by the name that stands in the zip, and no name leads out of it.
    * What is read is bounded before it is read: how many files, how large, how much larger than packed.
    * Every file but the metadata stands in the metadata with its size and SHA-256, and none stands there in vain.

The format: https://www.researchobject.org/ro-crate/specification/1.1/
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..errors import ClosedLoopError, LedgerError

METADATA = "ro-crate-metadata.json"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "http://schema.org/sha256"}]
CONFORMS = "https://w3id.org/ro/crate/1.1"
MAGIC = b"PK\x03\x04"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip knows no earlier time
_PLAIN_FILE = (stat.S_IFREG | 0o644) << 16
MOST_FILES = 100
LARGEST = 8 * 2**30  # bytes of all files together
LARGEST_METADATA = 4 * 2**20
LARGEST_RATIO = 200  # of unpacked to packed; a ledger's hashes do not pack, so that it stays below ten
SMALL = 2**20  # bytes; below, the ratio does not matter
_BLOCK = 2**20
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)

Entity = dict[str, Any]


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip does; that a ledger ends as one does not make it one."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def write_crate(to: Path, files: Mapping[str, Path], *, root: Entity, described: Mapping[str, Entity]) -> None:
    """Pack files with their metadata, whole or not at all.

    Args:
        to: the zip file.
        files: by their name in the crate.
        root: what is said of the crate as a whole: name, description, datePublished, license.
        described: what is said of each file; and, by names that are no file, entities that others refer to.

    Raises:
        ClosedLoopError: if it cannot be written, or would replace a file that is no zip.
    """
    if to.exists() and not is_zip(to):
        raise ClosedLoopError(f"{to}: is there and is no capsule, so it is not replaced; name another file")
    told = [{"@id": n, "@type": "File", **described[n], **_measured(path)} for n, path in sorted(files.items())]
    others = [{"@id": name, **entity} for name, entity in sorted(described.items()) if name not in files]
    parts = [{"@id": name} for name in sorted(files)]
    descriptor = {"@id": METADATA, "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": {"@id": CONFORMS}}
    graph = [descriptor, {"@id": "./", "@type": "Dataset", **root, "hasPart": parts}, *told, *others]
    text = json.dumps({"@context": CONTEXT, "@graph": graph}, indent=2, ensure_ascii=False) + "\n"
    draft = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        try:
            _pack(draft, text.encode(), files)
            draft.replace(to)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ClosedLoopError(f"{to} cannot be written ({error.strerror}); name another file") from error


def _pack(to: Path, metadata: bytes, files: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(to, "x", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr(_entry(METADATA, len(metadata)), metadata)
        for name, path in sorted(files.items()):
            with path.open("rb") as source, pack.open(_entry(name, path.stat().st_size), "w") as target:
                for block in _blocks(source):
                    target.write(block)


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type, entry.file_size = zipfile.ZIP_DEFLATED, size
    entry.create_system, entry.external_attr = 3, _PLAIN_FILE  # as on Unix, wherever it is made
    return entry


def _measured(path: Path) -> Entity:
    with path.open("rb") as file:
        return {"contentSize": str(path.stat().st_size), "sha256": _sha256(file)}


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for block in _blocks(file):
        digest.update(block)
    return digest.hexdigest()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


class Crate:
    """A crate that is open for reading."""

    def __init__(self, pack: zipfile.ZipFile, path: Path) -> None:
        self._pack, self._path = pack, path
        self._entries = {entry.filename: entry for entry in pack.infolist()}
        self.metadata = self._metadata()

    def problems(self) -> list[str]:
        """Each file that is missing, is one too many, or has another hash or size than the metadata say."""
        told = {e["@id"]: e for e in self.metadata if e.get("@type") == "File" and isinstance(e.get("@id"), str)}
        there = self._entries.keys() - {METADATA}
        return [
            *(f"file {name!r} is missing: removed" for name in sorted(told.keys() - there)),
            *(f"file {name!r} is not in the metadata: inserted" for name in sorted(there - told.keys())),
            *(f"file {name!r} {fault}" for name in sorted(there & told.keys()) if (fault := self._fault(told[name]))),
        ]

    def read(self, name: str, *, most: int = LARGEST_METADATA) -> bytes:
        """A small file.

        Raises:
            LedgerError: if it is not there or is too large.
        """
        entry = self._entries.get(name)
        if entry is None or entry.file_size > most:
            raise LedgerError(f"{self._path}: {name!r} is {'not there' if entry is None else 'too large'}: no capsule")
        with self._pack.open(entry) as file:
            return file.read(most)

    def unpack(self, name: str, to: Path) -> None:
        """Write one file to where the caller says.

        Raises:
            LedgerError: if it is not there.
        """
        if name not in self._entries:
            raise LedgerError(f"{self._path}: {name!r} is not there: no capsule")
        with self._pack.open(self._entries[name]) as source, to.open("xb") as target:
            for block in _blocks(source):
                target.write(block)

    def _fault(self, told: Entity) -> str:
        entry = self._entries[told["@id"]]
        if str(entry.file_size) != told.get("contentSize"):
            return f"has {entry.file_size} bytes where the metadata say {told.get('contentSize')}: changed"
        try:
            with self._pack.open(entry) as file:
                found = _sha256(file)
        except _BROKEN as error:
            return f"cannot be read ({error}): damaged"
        return "" if found == told.get("sha256") else f"has SHA-256 {found[:12]}… and not the one it had: changed"

    def _metadata(self) -> list[Entity]:
        try:
            graph = json.loads(self.read(METADATA))["@graph"]
            return [entity for entity in graph if isinstance(entity, dict)]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LedgerError(f"{self._path}: {METADATA} cannot be read ({error}): no capsule") from error


@contextmanager
def opened_crate(path: Path) -> Iterator[Crate]:
    """A crate to read, after its table of contents was found harmless.

    Raises:
        LedgerError: if it is none, or is not harmless.
    """
    try:
        with zipfile.ZipFile(path) as pack:
            _refuse_hostile(path, pack.infolist())
            yield Crate(pack, path)
    except _BROKEN as error:
        raise LedgerError(f"{path} cannot be read as a capsule ({error}); fetch it once more") from error


def _refuse_hostile(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename.lower() for entry in entries]
    faults = (
        f"entry {entry.filename!r} {fault}" for entry in entries for is_so, fault in _dangers(entry, names) if is_so
    )
    if len(entries) > MOST_FILES:
        fault = f"it holds {len(entries)} files, and no capsule more than {MOST_FILES}"
    elif sum(entry.file_size for entry in entries) > LARGEST:
        fault = f"its files are larger than {LARGEST >> 30} GiB"
    else:
        fault = next(faults, "")
    if fault:
        raise LedgerError(f"{path}: {fault}; no capsule is made so, and nothing of it was unpacked: do not trust it")


def _dangers(entry: zipfile.ZipInfo, names: list[str]) -> Iterator[tuple[bool, str]]:
    name, mode = entry.filename, entry.external_attr >> 16
    parts = PurePosixPath(name).parts
    yield ".." in parts or name.startswith("/") or "\\" in name or ":" in name, "leads out of the capsule"
    yield not name.isprintable() or not name, "has an unreadable name"
    yield entry.is_dir() or (stat.S_IFMT(mode) not in (0, stat.S_IFREG)), "is no plain file"
    yield names.count(name.lower()) > 1, "stands there twice"
    yield bool(entry.flag_bits & 0x1), "is encrypted"
    yield entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), "is packed in an unusual way"
    is_bomb = entry.file_size > SMALL and entry.file_size > LARGEST_RATIO * max(entry.compress_size, 1)
    yield is_bomb, f"is more than {LARGEST_RATIO} times as large as packed"
