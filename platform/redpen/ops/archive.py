"""The archive of a backup: one tar with `database.dump`, `files/...` and, at its end, `manifest.json` with checksums.

The manifest comes last because it holds what was found while the rest was written. An archive without one is half an
archive, and refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

FORMAT = 1
DUMP, FILES, MANIFEST = "database.dump", "files/", "manifest.json"
# what of the data folder belongs to the data; the rest is made anew or belongs to the machine (secret_key, log, ...)
FOLDERS = ("snapshots", "runs", "models", "uploads", "base")
SINGLE_FILES = ("first_start",)
BLOCK = 1 << 20


class ArchiveRefused(Exception):
    """It cannot be read, is not whole, or is not ours; the message says what is wrong."""


class FileChanged(Exception):
    """A file shrank while it was read."""


class Hashing:
    """Passes bytes on and keeps their checksum."""

    def __init__(self, source: BinaryIO) -> None:
        self.source, self.sha256, self.bytes = source, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        block = self.source.read(size)
        self.sha256.update(block)
        self.bytes += len(block)
        return block

    def entry(self) -> dict[str, Any]:
        return {"sha256": self.sha256.hexdigest(), "bytes": self.bytes}


def add_file(archive: tarfile.TarFile, name: str, path: Path) -> dict[str, Any] | None:
    """Add what `path` holds now; None when it has gone. A file that still grows is taken as long as it was at first."""
    try:
        source = path.open("rb")
    except FileNotFoundError:
        return None
    with source:
        status = os.fstat(source.fileno())
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = status.st_size, int(status.st_mtime), 0o600
        hashing = Hashing(source)
        try:
            archive.addfile(member, hashing)
        except OSError as error:
            if hashing.bytes < status.st_size:
                raise FileChanged(f"{path} became shorter while it was read. Make the backup again.") from error
            raise
    return hashing.entry()


def add_manifest(archive: tarfile.TarFile, manifest: dict[str, Any]) -> None:
    body = json.dumps(manifest, indent=1, sort_keys=True).encode()
    member = tarfile.TarInfo(MANIFEST)
    member.size, member.mode = len(body), 0o600
    archive.addfile(member, io.BytesIO(body))


def artifacts(data_dir: Path, *, with_base: bool = True) -> Iterator[tuple[str, Path]]:
    """The files of the data folder that belong to the data, as (name within the folder, path), in order."""
    for single in SINGLE_FILES:
        if (data_dir / single).is_file():
            yield single, data_dir / single
    for folder in FOLDERS:
        if folder == "base" and not with_base:
            continue
        for root, folders, names in os.walk(data_dir / folder):
            folders.sort()
            for name in sorted(names):
                path = Path(root, name)
                if path.is_file():  # follows links to files; sockets and broken links are nothing to keep
                    yield path.relative_to(data_dir).as_posix(), path


def read_manifest(archive: tarfile.TarFile) -> dict[str, Any]:
    try:
        members = archive.getmembers()
        if not members or members[-1].name != MANIFEST:
            raise ArchiveRefused("It has no manifest at its end: it was cut off, or is no backup of Redpen.")
        manifest = json.load(archive.extractfile(members[-1]))
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise ArchiveRefused(f"It cannot be read ({error}).") from None
    if manifest.get("format") != FORMAT:
        raise ArchiveRefused(f"Its format is {manifest.get('format')!r}; this Redpen reads {FORMAT}.")
    return manifest


def unpack(archive: tarfile.TarFile, manifest: dict[str, Any], *, into: Path) -> None:
    """Write the dump and the files below `into`; refuses whatever the manifest does not hold, byte for byte."""
    expected = {DUMP: manifest["database"]} | {FILES + name: entry for name, entry in manifest["files"].items()}
    for member in archive:
        if member.name == MANIFEST:
            continue
        entry = expected.pop(member.name, None)
        if entry is None or not member.isfile() or not _stays_inside(member.name):
            raise ArchiveRefused(f"It holds {member.name!r}, which its manifest does not know.")
        path = into / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as target:
            hashing = Hashing(archive.extractfile(member))
            while block := hashing.read(BLOCK):
                target.write(block)
            target.flush()
            os.fsync(target.fileno())
        os.utime(path, (member.mtime, member.mtime))
        if hashing.entry() != entry:
            raise ArchiveRefused(f"{member.name} is damaged: its checksum is not the manifest's.")
    if expected:
        raise ArchiveRefused(f"It lacks {sorted(expected)[0]!r} and {len(expected) - 1} other files of its manifest.")


def _stays_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    inside = parts[1:] if name.startswith(FILES) else parts
    known = name == DUMP or (bool(inside) and (inside[0] in FOLDERS or inside in {(one,) for one in SINGLE_FILES}))
    return known and not name.startswith("/") and ".." not in parts
