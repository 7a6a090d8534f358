"""How a socket that listens stops taking connections, so that none is accepted and then reset.

The system itself accepts connections and keeps them until a process takes them; to close the
socket resets those that are left. Between the last look and the closing another can come, also
where the queue is made as short as it can be. So Linux is told first to drop what would begin a
connection: such a client asks again a second later, and is then refused or answered by another.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from contextlib import suppress
from typing import Final

_ATTACH_FILTER: Final = 26  # SO_ATTACH_FILTER of Linux's asm-generic/socket.h
_GET_FILTER: Final = 26
_DETACH_FILTER: Final = 27
# A program for the classic packet filter (Linux, Documentation/networking/filter.rst): what is
# looked at begins with the TCP header, whose byte 13 holds the flags.
_NO_SYN: Final = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x45, 0, 1, 0x02),  # where SYN is not set, leave out the next line
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # take all of it
)
_STEP: Final = "HBBI"


def accept_no_more(listener: socket.socket) -> None:
    """Have the system begin no further connection; those that have begun can still be taken.

    It holds for all processes that share the socket. Where the system has no packet filter, the
    queue is made as short as it can be, and a connection can still come.

    Args:
        listener: a socket that listens.
    """
    if sys.platform != "linux" or not _drops_what_begins(listener):
        listener.listen(0)


def accept_again(listener: socket.socket, backlog: int) -> None:
    """Undo `accept_no_more`; nothing changes where it was not called.

    Args:
        listener: a socket that listens.
        backlog: connections that wait to be taken.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # it has no filter
            listener.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
    listener.listen(backlog)


def take_all(listener: socket.socket) -> list[socket.socket]:
    """Return the connections that the system has accepted and nobody has taken.

    Args:
        listener: a socket that listens and does not block.
    """
    taken = []
    while True:
        try:
            taken.append(listener.accept()[0])
        except ConnectionAbortedError:  # this client has left
            continue
        except OSError:  # none is left
            return taken


def _drops_what_begins(listener: socket.socket) -> bool:
    """Have Linux drop what would begin a connection; return whether it does."""
    steps = b"".join(struct.pack(_STEP, *step) for step in _NO_SYN)
    program = ctypes.create_string_buffer(steps, len(steps))
    option = struct.pack("HL", len(_NO_SYN), ctypes.addressof(program))  # struct sock_fprog
    try:
        listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, option)
        # Some sandboxes take the option and do nothing. Linux tells how many steps there are, and
        # writes all of them.
        return bool(listener.getsockopt(socket.SOL_SOCKET, _GET_FILTER, 1024))
    except OSError:  # others have none
        return False
