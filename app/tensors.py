"""What a safetensors file holds, read from its header alone: no torch, no tensor is loaded."""

import json
import struct
from math import prod
from typing import Any, BinaryIO

LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
METADATA = "__metadata__"


class TornTensors(ValueError):
    """The file is torn, or is not safetensors."""


def header(file: BinaryIO, size: int) -> dict[str, dict[str, Any]]:
    """Dtype, shape and place of every tensor by its name, and the file's metadata under `__metadata__`.

    Args:
        file: at its start.
        size: of the whole file, in bytes.

    Raises:
        TornTensors: the header cannot be read, or its tensors do not fill the file.
    """
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 0 < length <= min(size - 8, LONGEST_HEADER):
        raise TornTensors
    try:
        table = json.loads(file.read(length))
        ends = sorted(_extent(entry) for name, entry in table.items() if name != METADATA)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TornTensors from error
    reached = 0
    for begin, end in ends:
        if begin != reached:
            raise TornTensors
        reached = end
    if size != 8 + length + reached or not isinstance(table.get(METADATA, {}), dict):
        raise TornTensors
    return dict(table)


def _extent(entry: dict[str, Any]) -> tuple[int, int]:
    """Where a tensor lies; raises ValueError where that is not what its shape and type take."""
    begin, end = entry["data_offsets"]
    if any(type(number) is not int for number in (begin, end, *entry["shape"])):
        raise ValueError
    width = BYTES.get(entry["dtype"])
    if width is not None and end - begin != width * prod(entry["shape"]):
        raise ValueError
    return begin, end
