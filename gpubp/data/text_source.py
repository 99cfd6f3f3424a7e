"""The text of a file in chunks: unpacked, decoded, without a byte-order mark and without NULs."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from ..errors import InputError
from .limits import memory

CHUNK = 1 << 20
"""The bytes read at once; of a text in a file about as many characters."""

# Codecs of Python's that make text of text, or run into trouble on what is none.
_NO_ENCODINGS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_GZIP = b"\x1f\x8b"


class TextSource:
    """The text of an open file, from its beginning each time that it is asked for.

    >>> import io
    >>> "".join(TextSource(io.BytesIO(b"a,b"), "a.csv").chunks())
    'a,b'
    """

    def __init__(self, file: BinaryIO, name: str, encoding: str = "utf-8") -> None:
        self.file, self.name = file, name
        self.encoding = checked_encoding(encoding)
        self.packed = name.lower().endswith(".gz")

    def chunks(self) -> Iterator[str]:
        """Yield the text, never empty; `InputError` for what cannot be decoded."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        taken = 0  # bytes given to the decoder before
        first = True
        for data in self._bytes():
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise self._undecodable(error, taken - pending + error.start) from error
            taken += len(data)
            if first and text:
                text, first = text.removeprefix("\ufeff"), False
            if "\0" in text:
                raise InputError(
                    f"{self.name} has a NUL character, which no text file has; if it is text of "
                    "another encoding name it, as in encoding='utf-16' (--encoding utf-16)"
                )
            if text:
                yield text

    def _bytes(self) -> Iterator[bytes]:
        """Yield the bytes of the text, and no bytes at the end."""
        self.file.seek(0)
        if not self.packed:
            yield from iter(lambda: self.file.read(CHUNK), b"")
            yield b""
            return
        if self.file.read(2) != _GZIP:
            bare = self.name[: -len(".gz")]
            raise InputError(f"{self.name} is not packed by gzip, as its ending says; rename it "
                             f"{bare}, or pack it")  # fmt: skip
        self.file.seek(0)
        most, taken = memory(), 0
        with gzip.GzipFile(fileobj=self.file, mode="rb") as unpacked:
            for data in iter(lambda: unpacked.read(CHUNK), b""):
                taken += len(data)
                if taken > most:
                    raise InputError(
                        f"{self.name} unpacks to more than the {most / 2**30:.0f} GiB of memory "
                        "that this machine has; unpack it and take a part of it"
                    )
                yield data
        yield b""

    def _undecodable(self, error: UnicodeDecodeError, position: int) -> InputError:
        start = bytes(error.object[:2])
        byte = error.object[error.start : error.start + 1].hex() or "none"
        remedy = _MARKS.get(start, "latin-1") if position < 2 else "latin-1"
        message = (
            f"{self.name} is not {self.encoding} text: byte {position} is 0x{byte} "
            f"({error.reason}); name its encoding, as in encoding={remedy!r} (--encoding {remedy})"
        )
        if position < 2 and start == _GZIP:
            message = f"{self.name} is packed by gzip; name it {self.name}.gz, or unpack it"
        return InputError(message)


def checked_encoding(name: str) -> str:
    """Return the name of an encoding as Python's codecs have it.

    >>> checked_encoding("UTF8"), checked_encoding("latin1")
    ('utf-8', 'iso8859-1')
    """
    try:
        known = codecs.lookup(name)
        with suppress(UnicodeError):
            b"a".decode(name)  # a codec that makes bytes of bytes is refused here
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"unknown encoding {name!r}; expected one of Python's, such as 'utf-8', 'latin-1', "
            "'cp1252' or 'utf-16'"
        ) from error
    if known.name.replace("_", "-") in _NO_ENCODINGS or known.incrementaldecoder is None:
        raise InputError(f"encoding {name!r} is none of files; give 'utf-8', 'latin-1', ...")
    return known.name
