"""Cut an Ogg Vorbis stream at packet borders, without decoding or re-encoding anything.

Conventions
-----------
Positions are samples per channel from the start of the decoded source. A Vorbis packet alone yields no audio: the
overlap of two neighbouring packets yields a quarter of each block, so a stream that starts with packet ``p`` begins,
sample for sample, at the source's position after ``p``. The end is cut to the sample by the last page's granule
position, which decoders must honour (Vorbis I specification, section A.2).

References
----------
Xiph.Org Foundation (2020), "Vorbis I specification". Pfeiffer (2003), RFC 3533, "The Ogg encapsulation format".
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

_PAGE = struct.Struct("<4sBBqIIIB")
_PAGE_BYTES = 4096
_LONGEST_BLOCK = 8192


@dataclass(frozen=True)
class Cut:
    """A cut stream and where it lies in its source.

    Attributes
    ----------
    data : bytes
        A complete Ogg Vorbis file.
    start : int
        The source's sample that the cut begins with.
    n_samples : int
    """

    data: bytes
    start: int
    n_samples: int


def cut(source: bytes, start: int, n_samples: int) -> Cut:
    """Cut `n_samples` beginning at the first packet border at or after `start`.

    Parameters
    ----------
    source : bytes
        An Ogg file that holds one Vorbis stream.
    start, n_samples : int
        Samples per channel.

    Returns
    -------
    Cut

    Raises
    ------
    ValueError
        If the stream is damaged, is not Vorbis, or does not hold the excerpt.
    """
    packets, granules, serial = _read(source)
    headers, audio = packets[:3], packets[3:]
    if len(headers) < 3 or any(h[1:7] != b"vorbis" for h in headers):
        raise ValueError("source must hold one Vorbis stream, got other packets")
    ends = _shift(_positions(headers, audio), granules[3:])
    first = next((i for i, end in enumerate(ends) if end >= start), len(ends))
    last = next((i for i, end in enumerate(ends) if first < len(ends) and end >= ends[first] + n_samples), None)
    if last is None:
        raise ValueError(f"the excerpt must lie within {ends[-1]} samples, got start {start}, length {n_samples}")
    granule = [min(end - ends[first], n_samples) for end in ends[first : last + 1]]
    return Cut(_write(headers, audio[first : last + 1], granule, serial), ends[first], n_samples)


def comments(source: bytes) -> dict[str, str]:
    """Read the tags of an Ogg Vorbis file; names in upper case, the first of a repeated name counts."""
    data = _read(source)[0][1][7:]
    (size,) = struct.unpack_from("<I", data)
    offset = 4 + size
    (count,) = struct.unpack_from("<I", data, offset)
    offset += 4
    tags: dict[str, str] = {}
    for _ in range(count):
        (size,) = struct.unpack_from("<I", data, offset)
        name, _, value = data[offset + 4 : offset + 4 + size].decode("utf-8").partition("=")
        tags.setdefault(name.upper(), value)
        offset += 4 + size
    return tags


def _read(source: bytes) -> tuple[list[bytes], list[int | None], int]:
    """Split a file into packets; a packet's granule position is known where it is the last to end on its page."""
    packets: list[bytes] = []
    granules: list[int | None] = []
    partial, offset, serial = b"", 0, None
    while offset < len(source):
        magic, _, _, granule, page_serial, _, _, n_segments = _PAGE.unpack_from(source, offset)
        if magic != b"OggS" or (serial is not None and page_serial != serial):
            raise ValueError(f"source must be one Ogg stream, got a bad or foreign page at byte {offset}")
        serial = page_serial
        offset += _PAGE.size
        lacing = source[offset : offset + n_segments]
        offset += n_segments
        ended = False
        for size in lacing:
            partial += source[offset : offset + size]
            offset += size
            if size < 255:
                packets.append(partial)
                granules.append(None)
                partial, ended = b"", True
        if ended:
            granules[-1] = granule
    return packets, granules, serial or 0


def _positions(headers: list[bytes], audio: list[bytes]) -> list[int]:
    """Count the samples that are decoded once each packet is in."""
    sizes = (1 << (headers[0][28] & 15), 1 << (headers[0][28] >> 4))
    long_blocks = _modes(headers[2])
    mode_mask = (1 << (len(long_blocks) - 1).bit_length()) - 1
    blocks = [sizes[long_blocks[(packet[0] >> 1) & mode_mask]] for packet in audio]
    ends = [0]
    for previous, block in itertools.pairwise(blocks):
        ends.append(ends[-1] + previous // 4 + block // 4)
    return ends


def _modes(setup: bytes) -> list[bool]:
    """Read the mode table from the end of the setup header: is a mode's block long?

    The table is the header's last field, so reading backwards spares parsing the codebooks. Each entry is a block flag,
    two 16-bit zeros and an 8-bit mapping number; six bits before the first hold the number of entries less one.
    """
    bits = int.from_bytes(setup, "little")
    position = bits.bit_length() - 1  # the framing bit
    flags: list[bool] = []
    found: list[bool] = []
    while position >= 47 and len(flags) < 64:
        position -= 41
        entry = (bits >> position) & ((1 << 41) - 1)
        if (entry >> 1) & 0xFFFFFFFF or entry >> 33 > 63:
            break
        flags.insert(0, bool(entry & 1))
        if (bits >> (position - 6)) & 63 == len(flags) - 1:
            found = list(flags)
    if not found:
        raise ValueError("setup header must end with a mode table, got none")
    return found


def _shift(ends: list[int], granules: list[int | None]) -> list[int]:
    """Subtract what the first page with audio drops, and compare the count with every granule position.

    Spliced streams step by part of a block now and then, and the end may be cut short; decoders deliver the counted
    samples there, so less than one block of difference is let pass. A misread packet would soon add up to more.
    """
    stated = [(end, granule) for end, granule in zip(ends, granules, strict=True) if granule is not None]
    dropped = next((end - granule for end, granule in stated if end), 0)
    wrong = [(end, granule) for end, granule in stated if abs(end - dropped - granule) >= _LONGEST_BLOCK]
    if dropped < 0 or wrong:
        raise ValueError(f"granule positions must equal the counted samples, got {(wrong or stated)[0]}")
    return [end - dropped for end in ends]


def _write(headers: list[bytes], audio: list[bytes], granules: list[int], serial: int) -> bytes:
    pages = [([headers[0]], 0), (headers[1:], 0)]
    group: list[bytes] = []
    for packet, granule in zip(audio, granules, strict=True):
        group.append(packet)
        if sum(map(len, group)) >= _PAGE_BYTES or packet is audio[-1]:
            pages.append((group, granule))
            group = []
    return b"".join(_pages(pages, serial))


def _pages(groups: list[tuple[list[bytes], int]], serial: int) -> list[bytes]:
    """Lay each group of whole packets on pages of its own (a group past 255 segments continues on the next)."""
    out: list[bytes] = []
    for number, (packets, granule) in enumerate(groups):
        lacing = b"".join(b"\xff" * (len(p) // 255) + bytes([len(p) % 255]) for p in packets)
        body, offset = b"".join(packets), 0
        for start in range(0, len(lacing), 255):
            segments = lacing[start : start + 255]
            last_piece = start + 255 >= len(lacing)
            continued = start > 0 and lacing[start - 1] == 255
            flags = continued | (2 * (not out)) | (4 * (number == len(groups) - 1 and last_piece))
            position = granule if last_piece or any(size < 255 for size in segments) else -1
            page = _PAGE.pack(b"OggS", 0, flags, position, serial, len(out), 0, len(segments))
            page += segments + body[offset : offset + sum(segments)]
            offset += sum(segments)
            out.append(page[:22] + struct.pack("<I", _crc(page)) + page[26:])
    return out


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


_CRC_TABLE = _crc_table()


def _crc(page: bytes) -> int:
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFFFFFF) ^ _CRC_TABLE[(value >> 24) ^ byte]
    return value
