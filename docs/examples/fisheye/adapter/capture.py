"""The sample adapter of an instrument: draws a test picture as a fisheye camera would see a chequered floor.

An adapter finds in its environment where the picture belongs: PERIGEE_DESTINATION, a folder below /data, and
PERIGEE_NAME, a name without extension that no other capture has. Exit code 0: the picture is there.
"""

import math
import os
import sys
import struct
import zlib

SIZE = 256


def pixel(x, y):
    u, v = 2 * x / SIZE - 1, 2 * y / SIZE - 1
    r = math.hypot(u, v)
    if r >= 0.98:
        return (0, 0, 0)
    stretch = math.tan(r * math.pi / 2.2) / r if r else 1
    dark = (math.floor(4 * u * stretch) + math.floor(4 * v * stretch)) % 2
    shade = int(255 * (1 - r * r))
    return (shade, shade // 2, 60) if dark else (60, shade, 255)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture():
    rows = b"".join(b"\0" + bytes(part for x in range(SIZE) for part in pixel(x, y)) for y in range(SIZE))
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


folder = os.environ["PERIGEE_DESTINATION"]
path = os.path.join(folder, os.environ["PERIGEE_NAME"] + ".png")
os.makedirs(folder, exist_ok=True)
# A link in the volume may lead anywhere in this container, where the picture would be lost.
if os.path.commonpath([os.path.realpath(folder), "/data"]) != "/data":
    sys.exit(f"{folder} leads out of the volume")
with open(path + ".part", "wb") as file:
    file.write(picture())
    file.flush()
    os.fsync(file.fileno())
os.rename(path + ".part", path)
print(path)
