"""The lengths of variable-length text in HDF5 attributes, read before HDF5 itself does.

HDF5 allocates what a file says that a text is long, up to 4 GiB, and only then looks for the text.
So the object header, which holds the lengths, is read here first. It follows the "HDF5 File Format
Specification", version 3.0, sections IV.A.1 and IV.A.2.m.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import IO

import h5py

_CONTINUATION, _ATTRIBUTE = 0x10, 0x0C
_MOST_HEADER = 1 << 24
_MOST_BLOCKS = 1000


def total_length(file: IO[bytes], group: h5py.Group, name: str) -> int:
    """Return how many bytes the texts of attribute `name` of `group` claim to have.

    Args:
        file: the HDF5 file itself, open for reading.

    Raises:
        ValueError, struct.error: the attribute is not found in the object's header.
    """
    opened = group.file
    address_size = opened.id.get_create_plist().get_sizes()[0]
    if address_size != 8:
        raise ValueError(f"addresses of {address_size} bytes")
    count = math.prod(group.attrs.get_id(name).shape)
    start = h5py.h5o.get_info(group.id).addr
    wanted = name.encode()
    for kind, body in _messages(file, opened.userblock_size, start):
        if kind == _ATTRIBUTE:
            found, data = _attribute(body)
            if found == wanted:
                # Each text is (length, address of a heap, index in it).
                return sum(struct.unpack_from("<I", data, 16 * i)[0] for i in range(count))
    raise ValueError("not in its object's header")


def _read(file: IO[bytes], position: int, size: int) -> bytes:
    if size > _MOST_HEADER:
        raise ValueError(f"an object header of {size} bytes")
    file.seek(position)
    block = file.read(size)
    if len(block) != size:
        raise ValueError("object header beyond the end of the file")
    return block


def _messages(file: IO[bytes], base: int, address: int) -> Iterator[tuple[int, bytes]]:
    """Yield (type, content) of each message in the object header at `address`."""
    prefix = _read(file, base + address, 16)
    if prefix[:4] == b"OHDR":
        flags = prefix[5]
        width = 1 << (flags & 3)
        begin = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        size = int.from_bytes(_read(file, base + address + begin, width), "little")
        head = 6 if flags & 4 else 4
        blocks = [(address + begin + width, size)]
    elif prefix[0] == 1:
        flags, head = -1, 8
        blocks = [(address + 16, struct.unpack_from("<I", prefix, 8)[0])]
    else:
        raise ValueError(f"object header of version {prefix[0]}")
    for done, (start, size) in enumerate(blocks):  # grows with each continuation
        if done == _MOST_BLOCKS:
            raise ValueError("too many parts of an object header")
        block = _read(file, base + start, size)
        position = 0
        while position + head <= len(block):
            if head == 8:
                kind, length = struct.unpack_from("<HH", block, position)
            else:
                kind, length = struct.unpack_from("<BH", block, position)
            body = block[position + head : position + head + length]
            position += head + length
            if kind == _CONTINUATION:
                start, size = struct.unpack_from("<QQ", body)
                # From version 2 on, between a signature and a checksum.
                blocks.append((start, size) if head == 8 else (start + 4, size - 8))
            yield kind, body


def _attribute(body: bytes) -> tuple[bytes, bytes]:
    """Return (name, data) of an attribute message."""
    version, _, name_size, type_size, space_size = struct.unpack_from("<BBHHH", body)
    if version not in (1, 2, 3):
        raise ValueError(f"attribute of version {version}")
    start = 9 if version == 3 else 8
    sizes = [name_size, type_size, space_size]
    if version == 1:
        sizes = [-(-size // 8) * 8 for size in sizes]
    return body[start : start + name_size].split(b"\0")[0], body[start + sum(sizes) :]
