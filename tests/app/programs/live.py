"""An application on a device that is not there: it does what the injection library's configuration says, and writes the
library's log. ``live.py BEHAVIOUR SLOW FAST``: what a swap makes of it, and the kernel's microseconds.
"""

import os
import signal
import struct
import sys
import time
from pathlib import Path

SYMBOL = b"_ZN5tiles9transposeIfLi16EEEvPKT_PS1_NS_5ShapeEf"
LAYOUT = ((0, 8), (8, 8), (16, 8), (24, 4))
SHAPES = ((64, 48), (33, 65), (64, 48))


def record(kind: int, payload: bytes) -> bytes:
    size = (8 + len(payload) + 7) & ~7
    return struct.pack("<IHH", size, kind, 0) + payload.ljust(size - 8, b"\0")


def text(kind: int, number: int, content: bytes) -> bytes:
    return record(kind, struct.pack("<II", number, len(content)) + content)


def main() -> None:
    behaviour, slow, fast = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    said = [line.split("\t") for line in Path(os.environ["WARPSMITH_INJECT"]).read_text().splitlines()]
    folder = Path(next(f[1] for f in said if f[0] == "folder"))
    rules: list[tuple[list[str], list[tuple[int, bytes]]]] = []
    for f in said:
        if f[0] == "swap":
            rules.append((f, []))
        elif f[0] == "where":
            rules[-1][1].append((int(f[1]), bytes.fromhex(f[2])))
    records = [
        record(2, struct.pack("<3I5i", 1, len(LAYOUT), len(SYMBOL), 0, 32, 0, 1024, 90)
               + b"".join(struct.pack("<II", *p) for p in LAYOUT) + SYMBOL),
        text(7, 1, SYMBOL),
    ]  # fmt: skip
    if rules:
        records.append(text(7, 2, rules[0][0][9].encode()))
        if not Path(rules[0][0][8]).is_file() or behaviour == "unloadable":
            message = b"the image cannot be loaded"
            records.append(record(11, struct.pack("<4I", 0, 1, 200, len(message)) + message))
    hits, missed, seconds = [0] * 256, 0, 0.0
    for number, (rows, cols) in enumerate(SHAPES):
        grid = (-(-cols // 16), -(-rows // 16), 1)
        content = struct.pack("<QQiif", 4096, 8192, rows, cols, 1.0)
        fits = [
            i for i, (f, where) in enumerate(rules)
            if tuple(map(int, f[2:5])) == grid and all(content[at:at + len(b)] == b for at, b in where)
        ]  # fmt: skip
        swapped = bool(fits) and behaviour != "unloadable"
        if swapped:
            hits[fits[0]] += 1
        missed += bool(rules) and not fits
        flags = 16 if swapped else 0
        records.append(record(3, struct.pack(
            "<4Q22I", number, number, 0, 0, 1, number + 1, 1, 0, 1, *grid, 16, 16, 1, 1, 1, 1, 0, 0, flags, 0,
            fits[0] if swapped else 0, 0, len(content), 0,
        ) + content.ljust((len(content) + 7) & ~7, b"\0")))  # fmt: skip
        took = (fast if swapped else slow) * (1 + 0.001 * (time.monotonic_ns() % 7))
        seconds += took
        new = tuple(int(x) for x in rules[fits[0]][0][10:16]) if swapped else (*grid, 16, 16, 1)
        records.append(record(6, struct.pack(
            "<3Q19I", 1000, 1000 + int(took * 1000), 0, number + 1, 0, 1, 7, 0, 2 if swapped else 1, *new, 1, 1, 1, 0,
            0, 32, 0,
        )))  # fmt: skip
    body = b"".join(records)
    counts = (4096 + len(body), 3, 0, 0, 0, 1, missed, 1, *hits)
    header = struct.pack("<8s4I9Q256Q", b"WSLAUNCH", 1, 4096, os.getpid(), 1, time.time_ns(), *counts)
    (folder / f"{os.getpid()}.launches").write_bytes(header.ljust(4096, b"\0") + body)
    wrong = bool(sum(hits)) and behaviour == "wrong"
    if sum(hits) and behaviour == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if sum(hits) and behaviour == "fail":
        sys.exit("an illegal memory access was encountered")
    if sum(hits) and behaviour == "hang":
        time.sleep(60)
    if behaviour == "noisy":
        print(time.time_ns())
    print("sum", 41 if wrong else 42)
    Path("result.txt").write_text(f"{41 if wrong else 42}\n")
    print(f"took {seconds:.9f} us", file=sys.stderr if behaviour != "metric" else sys.stdout)


main()
