"""Text of variable length in HDF5 attributes, read from the file's bytes without the library.

The HDF5 library allocates what a file says that a text is long, up to 4 GiB, before it looks for
the text; and a heap with one wrong byte can keep it in a loop that nothing ends. What is read here
follows the "HDF5 File Format Specification", version 3.0: object headers (IV.A.1), attribute
messages (IV.A.2.m) and global heaps (III.E).
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
_MOST_TEXT = 1 << 26


def read_texts(file: IO[bytes], group: h5py.Group, name: str) -> list[bytes]:
    """Return the texts of attribute `name` of `group`, in the order of its elements.

    Args:
        file: the HDF5 file itself, open for reading.

    Raises:
        ValueError, struct.error: the file is damaged, or claims more than 64 MiB.
    """
    opened = group.file
    address_size = opened.id.get_create_plist().get_sizes()[0]
    if address_size != 8:
        raise ValueError(f"addresses of {address_size} bytes")
    count = math.prod(group.attrs.get_id(name).shape)
    start = h5py.h5o.get_info(group.id).addr
    encoded_name = name.encode()
    for kind, body in _messages(file, opened.userblock_size, start):
        if kind == _ATTRIBUTE:
            attribute, data = _attribute(body)
            if attribute == encoded_name:
                references = [struct.unpack_from("<IQI", data, 16 * i) for i in range(count)]
                return _texts(file, opened.userblock_size, references)
    raise ValueError("not in its object's header")


def _texts(file: IO[bytes], base: int, references: list[tuple[int, int, int]]) -> list[bytes]:
    """Return the text behind each (length, address of a heap, index in the heap)."""
    total = sum(length for length, _, _ in references)
    if total > _MOST_TEXT:
        raise ValueError(f"{total} bytes of text are more than {_MOST_TEXT}")
    heaps: dict[int, dict[int, tuple[int, int]]] = {}
    texts = []
    for length, address, index in references:
        if not length:
            texts.append(b"")
            continue
        if address not in heaps:
            heaps[address] = _heap(file, base + address)
        position, size = heaps[address].get(index, (0, 0))
        if length > size:
            raise ValueError(f"a text of {length} bytes, where the heap has {size}")
        texts.append(_read(file, position, length, _MOST_TEXT).split(b"\0")[0])
    return texts


def _heap(file: IO[bytes], start: int) -> dict[int, tuple[int, int]]:
    """Return (position, size) of each object in the global heap collection at `start`."""
    signature, version, size = struct.unpack("<4sB3xQ", _read(file, start, 16))
    if signature != b"GCOL" or version != 1:
        raise ValueError("no heap where a text should be")
    objects: dict[int, tuple[int, int]] = {}
    position = start + 16
    while position + 16 <= start + size:
        index, length = struct.unpack("<H6xQ", _read(file, position, 16))
        if index == 0:  # the free space at the end
            break
        if index in objects:
            raise ValueError(f"object {index} is twice in a heap")
        objects[index] = (position + 16, length)
        position += 16 + -(-length // 8) * 8
    return objects


def _read(file: IO[bytes], position: int, size: int, most: int = _MOST_HEADER) -> bytes:
    if size > most:
        raise ValueError(f"a block of {size} bytes")
    file.seek(position)
    block = file.read(size)
    if len(block) != size:
        raise ValueError("a block beyond the end of the file")
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
