"""Names of files in the archive; the only codec of keys. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from streamrec.models import FileFormat

PART = ".part"
"""What the file being written has after its key."""
BAD = ".bad"
"""What a file that the disk spoiled has after its key."""

CLIPS = "clips/"
FILES = "files/"
"""What the names of clips and of stored files in a bucket begin with; no keyname is as short."""

_KEY = re.compile(
    r"(?P<keyname>[A-Za-z0-9_-]{10})/(?P<day>[0-9]{4}/[0-9]{2}/[0-9]{2})/"
    r"(?P<start>[0-9]{8}T[0-9]{6}\.[0-9]{3})Z-(?P<run>[0-9a-f]{12})(-(?P<epoch>[1-9][0-9]{0,17}))?"
    r"\.(?P<format>[a-z0-9]+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Name:
    """What a key says; `start_time` to the millisecond, `run` the first twelve hex digits of the run's id.

    `epoch` is None in names from before there were assignments.
    """

    keyname: str
    start_time: datetime
    run: str
    format: FileFormat
    epoch: int | None = None


def key(
    *,
    keyname: str,
    start_time: datetime,
    run_id: UUID,
    format: FileFormat,  # noqa: A002
    epoch: int | None = None,
) -> str:
    """`<keyname>/<yyyy>/<mm>/<dd>/<YYYYMMDDTHHMMSS.mmm>Z-<run>-<epoch>.<ext>`, in UTC, milliseconds cut off.

    The epoch keeps two recorders from ever writing the same file.
    """
    start = start_time.astimezone(UTC)
    stamp = f"{start:%Y%m%dT%H%M%S}.{start.microsecond // 1000:03d}Z"
    held = "" if epoch is None else f"-{epoch}"
    made = f"{keyname}/{start:%Y/%m/%d}/{stamp}-{run_id.hex[:12]}{held}.{format.value}"
    _match(made)
    return made


def parse(text: str) -> Name:
    """What `key` was given. Raises ValueError for anything that `key` would not make."""
    match = _match(text)
    start = datetime.strptime(match["start"], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    if match["day"] != f"{start:%Y/%m/%d}":
        raise ValueError(f"the folder of {text!r} is another day's")
    epoch = int(match["epoch"]) if match["epoch"] else None
    return Name(match["keyname"], start, match["run"], FileFormat(match["format"]), epoch)


def _match(text: str) -> re.Match[str]:
    match = _KEY.fullmatch(text)
    if match is None:
        raise ValueError(f"not a key of the archive: {text!r}")
    return match


def object_name(prefix: str, archived: str) -> str:
    """The name of a recording in a bucket: the prefix and the key. Raises ValueError for what is no key."""
    parse(archived)
    return prefix + archived


def parse_object(prefix: str, name: str) -> Name:
    """What `object_name` was given. Raises ValueError for anything that it would not make."""
    if not name.startswith(prefix):
        raise ValueError(f"not below {prefix!r}: {name!r}")
    return parse(name.removeprefix(prefix))


def day_folder(keyname: str, day: datetime) -> str:
    """The folder of a channel's files that begin on this UTC day."""
    return f"{keyname}/{day.astimezone(UTC):%Y/%m/%d}"
