"""Waypost's chunking a second time, slow and obvious, to check the first against. Python 3, standard library only.

    python3 libs/contracts/golden/reference.py > libs/contracts/golden/expected.json

Reads streams.json and manifest.json (written by hand) and prints what golden.test.ts expects of libs/contracts/src:
the chunks of each stream, their digests, the hash of each table and of the manifest. It follows docs/sync-protocol.md, not the TypeScript.
"""

import hashlib
import json
import os
import struct

SOFT_LIMIT = 1024 * 1024


def binary_rows(stream, columns):
    """Each row of a binary COPY: (its bytes, its fields), a field with its length before it."""
    assert stream[:11] == b"PGCOPY\n\xff\r\n\x00"
    flags, extension = struct.unpack(">II", stream[11:19])
    at = 19 + extension
    while stream[at:] != b"\xff\xff":
        start = at
        (count,) = struct.unpack(">h", stream[at : at + 2])
        assert count == columns
        at += 2
        fields = []
        for _ in range(count):
            field_start = at
            (length,) = struct.unpack(">i", stream[at : at + 4])
            at += 4 + max(length, 0)
            fields.append(stream[field_start:at])
        yield stream[start:at], fields


def text_rows(stream, columns):
    """Each row of a text COPY: (its line, its fields), a field with a zero byte after it."""
    assert stream == b"" or stream.endswith(b"\n")
    for line in stream.split(b"\n")[:-1]:
        fields = line.split(b"\t")
        assert len(fields) == columns
        yield line + b"\n", [field + b"\x00" for field in fields]


def key_hash(data):
    """FNV-1a, 32 bit, then the finalizer of MurmurHash3."""
    h = 2166136261
    for byte in data:
        h = ((h ^ byte) * 16777619) % 2**32
    h = (h ^ (h >> 16)) * 2246822507 % 2**32
    h = (h ^ (h >> 13)) * 3266489909 % 2**32
    return h ^ (h >> 16)


def chunks(stream, table_format, columns, key_fields):
    rows = {"binary": binary_rows, "text": text_rows}[table_format](stream, columns)
    chunk, row_count = b"", 0
    for row, fields in rows:
        chunk, row_count = chunk + row, row_count + 1
        key = b"".join(fields[field] for field in key_fields)
        if key_hash(key) % 256 == 0 or len(chunk) >= SOFT_LIMIT:
            yield chunk, row_count
            chunk, row_count = b"", 0
    if row_count > 0:
        yield chunk, row_count


def stream_bytes(case):
    """A part is hex (spaces mean nothing) or, in text, the characters themselves; {part, times} repeats one."""
    read = bytes.fromhex if case["format"] == "binary" else lambda part: part.encode()
    return b"".join(read(part) if isinstance(part, str) else read(part["part"]) * part["times"] for part in case["copy"])


def expected(case):
    cut = list(chunks(stream_bytes(case), case["format"], case["columns"], case["keyFields"]))
    digests = [hashlib.sha256(chunk).digest() for chunk, _ in cut]
    return {
        "case": case["case"],
        "chunks": [
            {"rowCount": row_count, "bytes": len(chunk), "sha256": digest.hex()}
            for (chunk, row_count), digest in zip(cut, digests)
        ],
        "tableSha256": hashlib.sha256(b"".join(digests)).hexdigest(),
    }


def manifest_sha256(manifest):
    """Python's sorted compact JSON is RFC 8785 as long as keys are in the Basic Multilingual Plane and numbers are integers."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def load(name):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), encoding="utf-8") as file:
        return json.load(file)


if __name__ == "__main__":
    result = {"streams": [expected(case) for case in load("streams.json")], "manifestSha256": manifest_sha256(load("manifest.json"))}
    print(json.dumps(result, indent=2))
