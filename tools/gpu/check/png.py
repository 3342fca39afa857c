"""The values of a PNG picture of 8-bit colours, which is what zimaged writes."""

import struct
import zlib

COLOURS = 3


def values(path):
    """Its rows one after the other, as bytes."""
    with open(path, "rb") as file:
        data = file.read()
    width, _, depth, colour_type = struct.unpack(">IIBB", data[16:26])
    assert (depth, colour_type) == (8, 2), f"{path} is no picture of 8-bit colours"
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        packed += data[at + 8:at + 8 + length] if kind == b"IDAT" else b""
        at += length + 12
    raw, stride = zlib.decompress(packed), COLOURS * width
    rows, above = [], bytes(stride)
    for start in range(0, len(raw), stride + 1):
        above = unfiltered(raw[start], raw[start + 1:start + 1 + stride], above)
        rows.append(above)
    return b"".join(rows)


def unfiltered(kind, row, above):
    """Source: the PNG specification, section 9.2."""
    out = bytearray(row)
    for i, value in enumerate(row):
        left = out[i - COLOURS] if i >= COLOURS else 0
        corner = above[i - COLOURS] if i >= COLOURS else 0
        predictions = (0, left, above[i], (left + above[i]) // 2, 0)
        prediction = paeth(left, above[i], corner) if kind == 4 else predictions[kind]
        out[i] = (value + prediction) & 255
    return bytes(out)


def paeth(left, above, corner):
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))
