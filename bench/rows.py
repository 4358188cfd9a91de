"""Result rows as both engines write them, made comparable."""

import hashlib
import json
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path


def read(folder):
    """The rows of all published JSON files below a folder, as a multiset."""
    rows = Counter()
    for path in sorted(Path(folder).rglob("*")):
        hidden = any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            with path.open(encoding="utf-8") as lines:
                rows.update(normal(json.loads(line)) for line in lines)
    return rows


def normal(row):
    """One row as a text in which equal values are spelt alike."""
    return json.dumps({name: value_of(value) for name, value in row.items()}, sort_keys=True)


def value_of(value):
    """Times become milliseconds, whole doubles whole numbers; the rest stays."""
    if isinstance(value, str) and len(value) >= 19 and value[4:5] == "-" and value[13:14] == ":":
        return millis(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def millis(text):
    """`2018-01-01T00:00:00.000Z` and its relatives: with a blank, without a fraction, without the `Z`."""
    try:
        time = datetime.fromisoformat(text.replace(" ", "T").replace("Z", "+00:00"))
    except ValueError:
        return text
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    return round(time.timestamp() * 1000)


def checksum(rows):
    """An order-free checksum: the sum of a hash of each row."""
    total = 0
    for row, count in rows.items():
        digest = hashlib.blake2b(row.encode(), digest_size=8).digest()
        total += count * int.from_bytes(digest, "little")
    return f"{total % 2**64:016x}"


def compare(ours, theirs):
    """What there is to say about two multisets of rows."""
    missing, extra = theirs - ours, ours - theirs
    return {
        "equal": ours == theirs,
        "rows": sum(ours.values()),
        "flinkRows": sum(theirs.values()),
        "checksum": checksum(ours),
        "flinkChecksum": checksum(theirs),
        "onlyFlink": [row for row, _ in missing.most_common(3)],
        "onlyThalweg": [row for row, _ in extra.most_common(3)],
    }
