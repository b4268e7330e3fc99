"""Freed memory stays with the process.

A training step frees the maps of the step before and asks for as much again. The C library gives large pieces back to the system
in between, and every page that comes anew costs a fault and is filled with zeros: a sixth of a step of the small Music2Latent.
"""

from __future__ import annotations

import ctypes

# Of malloc.h, the GNU C library's.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell the C library to keep what is freed, for the rest of the process; it then holds as much as its largest step took.

    Returns
    -------
    bool
        False where the C library knows no such setting (macOS, musl, Windows); nothing has changed then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function; no library without a name (Windows)
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER) and mallopt(_MMAP_THRESHOLD, _NEVER))
