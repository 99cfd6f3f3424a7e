"""The members of a zip archive as ranges of bytes, so that those stored as they are can be mapped.

zipfile of the standard library reads a directory of any size and does not say where the bytes of
a member lie. The format: PKWARE's APPNOTE.TXT 6.3.10 (2022), sections 4.3 to 4.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from ..errors import InputError

_MEMBERS = 1000
_DIRECTORY = 1 << 20  # bytes
_NAME = 255
_CHUNK = 1 << 20
_RATIO = 1032  # deflate makes no more of a byte
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1 | 1 << 6 | 1 << 13
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF  # see the field of 64 bits instead

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")


class Member(NamedTuple):
    """A file in the archive: `packed` bytes from `start` on make `size` bytes with that `crc`."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    start: int

    @property
    def stored(self) -> bool:
        """Whether its bytes lie in the archive as they are."""
        return self.method == _STORED


def members(file: BinaryIO, source: str) -> dict[str, Member]:
    """Return the members by name; `InputError` for an archive that is not sound.

    >>> import io, zipfile
    >>> file = io.BytesIO()
    >>> with zipfile.ZipFile(file, "w") as archive:
    ...     archive.writestr("a", b"1234")
    >>> members(file, "a.zip")["a"].start
    31
    """
    length = file.seek(0, 2)
    count, size, offset = _end(file, length, source)
    if count > _MEMBERS or size > _DIRECTORY:
        raise InputError(f"{source} holds {count} arrays; {_MEMBERS} are the most that are read")
    if offset + size > length:
        raise _broken(source, "its directory lies outside of the file")
    file.seek(offset)
    directory = file.read(size)
    found: dict[str, Member] = {}
    spans = [(offset, offset + size, "the directory")]
    at = 0
    for _ in range(count):
        member, header, at = _entry(directory, at, source)
        if member.name in found:
            raise _broken(source, f"it holds {member.name!r} twice")
        start = _data_start(file, header, member, source)
        found[member.name] = member._replace(start=start)
        spans.append((header, start + member.packed, repr(member.name)))
    _check_spans(spans, source)
    return found


def _broken(source: str, why: str) -> InputError:
    return InputError(f"{source} is no sound archive: {why}; save it again, as by np.savez")


def _end(file: BinaryIO, length: int, source: str) -> tuple[int, int, int]:
    """Return the number of members, and the size and the place of the directory."""
    tail_start = max(0, length - _END.size - _FULL_16)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise _broken(source, "it has no directory at its end")
    _, disk, _, _, count, size, offset, _ = _END.unpack_from(tail, at)
    if disk not in (0, _FULL_16):
        raise _broken(source, "it is one part of several")
    locator = at - _LOCATOR.size
    if count != _FULL_16 and _FULL_32 not in (size, offset):
        return count, size, offset
    if locator < 0 or tail[locator : locator + 4] != b"PK\6\7":
        return count, size, offset
    _, _, place, _ = _LOCATOR.unpack_from(tail, locator)
    if place + _END_64.size > length:
        raise _broken(source, "its directory lies outside of the file")
    file.seek(place)
    fields = _END_64.unpack(file.read(_END_64.size))
    if fields[0] != b"PK\6\6":
        raise _broken(source, "its directory is not where it says")
    return fields[7], fields[8], fields[9]


def _entry(directory: bytes, at: int, source: str) -> tuple[Member, int, int]:
    """Return the member at `at` of the directory, where its header is, and where the next is."""
    if len(directory) < at + _ENTRY.size or directory[at : at + 4] != b"PK\1\2":
        raise _broken(source, "its directory is not complete")
    fields = _ENTRY.unpack_from(directory, at)
    flags, method = fields[3], fields[4]
    crc, packed, size, n_name, n_extra, n_comment = fields[7:13]
    header = fields[16]
    after_name = at + _ENTRY.size + n_name
    name = directory[at + _ENTRY.size : after_name].decode("utf-8", "replace")
    extra = directory[after_name : after_name + n_extra]
    size, packed, header = _long_sizes(extra, (size, packed, header), source)
    if n_name > _NAME:
        raise _broken(source, f"a name is {n_name} bytes long")
    if flags & _ENCRYPTED:
        raise InputError(f"{source}: {name!r} is encrypted; save it without a password")
    if method not in (_STORED, _DEFLATED):
        raise InputError(
            f"{source}: {name!r} is packed by method {method}; expected stored or deflated, as "
            "np.savez and np.savez_compressed write"
        )
    if (method == _STORED and size != packed) or size > _RATIO * (packed + 1):
        raise _broken(source, f"{name!r} claims {size} bytes out of {packed}")
    member = Member(name, method, crc, packed, size, 0)
    return member, header, after_name + n_extra + n_comment


def _long_sizes(extra: bytes, sizes: tuple[int, ...], source: str) -> Iterator[int]:
    """Yield sizes, those of 64 bits out of the extra field where the short ones say so."""
    long: list[int] = []
    while len(extra) >= 4:
        kind, n = struct.unpack_from("<2H", extra)
        if kind == 1:
            long = [value for (value,) in struct.iter_unpack("<Q", extra[4 : 4 + n - n % 8])]
        extra = extra[4 + n :]
    for size in sizes:
        if size == _FULL_32:
            if not long:
                raise _broken(source, "a size of 64 bits is missing")
            size = long.pop(0)
        yield size


def _data_start(file: BinaryIO, header: int, member: Member, source: str) -> int:
    """Where the bytes of a member begin: behind a header of its own, which may differ in length."""
    file.seek(header)
    local = file.read(_LOCAL.size)
    if len(local) < _LOCAL.size or local[:4] != b"PK\3\4":
        raise _broken(source, f"{member.name!r} is not where the directory says")
    fields = _LOCAL.unpack(local)
    if fields[3] != member.method or fields[2] & _ENCRYPTED:
        raise _broken(source, f"{member.name!r} differs from what the directory says")
    if file.read(fields[9]).decode("utf-8", "replace") != member.name:
        raise _broken(source, f"{member.name!r} has another name where it lies")
    return header + _LOCAL.size + int(fields[9]) + int(fields[10])


def _check_spans(spans: list[tuple[int, int, str]], source: str) -> None:
    spans = sorted(spans)
    for (_, end, one), (start, _, other) in pairwise(spans):
        if end > start:
            raise _broken(source, f"{one} and {other} overlap")


def unpack(file: BinaryIO, member: Member, source: str) -> Iterator[bytes]:
    """Yield the bytes of a member; `InputError` unless they are as many as it says, and sound.

    >>> import io, zipfile
    >>> file = io.BytesIO()
    >>> with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
    ...     archive.writestr("a", b"1234")
    >>> b"".join(unpack(file, members(file, "a.zip")["a"], "a.zip"))
    b'1234'
    """
    unpacker = None if member.stored else zlib.decompressobj(-zlib.MAX_WBITS)
    file.seek(member.start)
    left, crc, size = member.packed, 0, 0
    pending = b""
    while True:
        if not pending and left:
            pending = file.read(min(_CHUNK, left))
            left = left - len(pending) if pending else 0
        if unpacker is None:
            data, pending = pending, b""
        else:
            data = unpacker.decompress(pending, _CHUNK)
            pending = unpacker.unconsumed_tail
        size += len(data)
        crc = zlib.crc32(data, crc)
        if size > member.size:
            raise _broken(source, f"{member.name!r} unpacks to more than the {member.size} bytes "
                                  "it claims")  # fmt: skip
        if data:
            yield data
        if unpacker is not None and unpacker.eof:
            break
        if not (pending or left or data):
            break
    if size != member.size:
        raise _broken(source, f"{member.name!r} has {size} bytes and claims {member.size}")
    if crc != member.crc:
        raise _broken(source, f"the check sum of {member.name!r} is wrong")
