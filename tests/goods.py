"""What moves to a bucket, of each kind, as those who make it leave it: files with their rows."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from pydantic import SecretStr

from streamrec import db, deletion, jobs, recordings, roots
from streamrec.archive import layout, places
from streamrec.archive.files import Tree
from streamrec.archive.storage import Bucket
from streamrec.clips import keeping as clip_keeping
from streamrec.files import content
from streamrec.files import keeping as file_keeping
from streamrec.handover import clipped, moving, recorded, stored
from streamrec.models import Clip, FileContent, FileFormat, GapPolicy, Garbage, JobKind, Recording, Store
from streamrec.settings import Settings
from tests import factories as make

MEDIA = bytes(range(256)) * 8
KINDS = ("recording", "clip", "content")


def kept_in(settings: Settings, bucket: Bucket, **changes: Any) -> Settings:
    """Settings of an instance that keeps what it has in this bucket."""
    return settings.model_copy(
        update={
            "store": "s3",
            "s3_bucket": bucket.name,
            "s3_endpoint": bucket.endpoint,
            "s3_access_key": bucket.access_key,
            "s3_secret_key": SecretStr(bucket.secret_key),
            "s3_prefix": "radio/",
            **changes,
        }
    )


@dataclass(frozen=True)
class Place:
    """Where a row says that its bytes are."""

    store: Store
    object_key: str | None
    fault: str | None


class World:
    """An instance with a channel and a bucket, and one kind of things in it."""

    def __init__(self, settings: Settings, kind: str = "recording") -> None:
        self.settings = settings
        self.kind = kind
        with db.Session.begin() as session, Tree(settings.archive_dir) as tree:
            roots.expected(session, tree, host=socket.gethostname())
            self.channel_id = make.channel(session).id

    # --- things

    def put(self, media: bytes = MEDIA, *, sha256: str | None = None, second: int = 0) -> Any:
        """Something new that is finished and lies here; its id."""
        putting: dict[str, Callable[..., Any]] = {
            "recording": self._record,
            "clip": self._clip,
            "content": self._content,
        }
        return putting[self.kind](media, sha256 or hashlib.sha256(media).hexdigest(), second)

    def _record(self, media: bytes, sha256: str, second: int) -> int:
        start = datetime(2026, 11, 1, 12, tzinfo=UTC) + timedelta(seconds=second)
        key = layout.key(keyname="gr-rstpk-1", start_time=start, run_id=uuid4(), format=FileFormat.MP3)
        self._write(self.settings.archive_dir / key, media)
        told = {"path": key, "size_bytes": len(media), "sha256": sha256}
        with db.Session.begin() as session:
            return make.captured(session, self.channel_id, second, second + 1, **told).id

    def _clip(self, media: bytes, sha256: str, second: int) -> Any:
        clip_id = uuid4()
        path = f"2026/11/{clip_id}-1.mp3"
        self._write(self.settings.clips_dir / path, media)
        made = {"path": path, "size_bytes": len(media), "sha256": sha256, "lossless": True, "seconds": 1.0}
        with db.Session.begin() as session:
            asked = {
                "start_time": make.at(second),
                "end_time": make.at(second + 1),
                "format": "mp3",
                "exact": False,
            }
            job_id = jobs.create(session, JobKind.CLIP, channel_id=self.channel_id)
            who = {"id": clip_id, "job_id": job_id, "channel_id": self.channel_id}
            keep = {"gaps": GapPolicy.SKIP, "manifest": {}, "expires_at": make.T0 + timedelta(days=3650)}
            session.add(Clip(**who, **asked, **made, **keep))
        return clip_id

    def _content(self, media: bytes, sha256: str, second: int) -> str:
        name = self.store_file(media, owner=None, name=f"{second}.bin")
        if name != sha256:  # the row is to say something else than the file
            (self.settings.files_dir / content.key(name)).write_bytes(media[::-1])
        return name

    def store_file(self, media: bytes, *, owner: str | None, name: str = "a.bin") -> str:
        """What an upload does; the content's hash."""
        incoming = content.Incoming(self.settings.files_dir, most_bytes=1 << 30)
        try:
            incoming.write(media)
            return str(file_keeping.keep(incoming, incoming.finish(), file_name=name, owner=owner).sha256)
        finally:
            incoming.close()

    @staticmethod
    def _write(path: Path, media: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(media)

    def delete(self, thing: Any) -> None:
        """What a client's DELETE does."""
        if self.kind == "recording":
            deletion.recording(thing, self.settings.archive_dir)
        elif self.kind == "clip":
            clip_keeping.delete(thing, self.settings.clips_dir)
        else:
            file_keeping.delete(self.settings.files_dir, thing, asker=None)

    def hand_over(self, settings: Settings | None = None) -> int:
        """What the upkeep does."""
        runs = {"recording": recorded.run, "clip": clipped.run, "content": stored.run}
        return runs[self.kind](settings or self.settings)

    @property
    def goods(self) -> moving.Goods:
        kinds: dict[str, moving.Goods] = {
            "recording": recorded.Recordings(),
            "clip": clipped.Clips(),
            "content": stored.Contents(),
        }
        return kinds[self.kind]

    # --- what there is

    @property
    def folder(self) -> Path:
        folders = {
            "recording": self.settings.archive_dir,
            "clip": self.settings.clips_dir,
            "content": self.settings.files_dir,
        }
        return folders[self.kind]

    def place(self, thing: Any) -> Place | None:
        """Where the row says that it is; None if there is no row."""
        tables: dict[str, Any] = {"recording": Recording, "clip": Clip, "content": FileContent}
        with db.Session.begin() as session:
            row = session.get(tables[self.kind], thing)
            fault = None if row is None else getattr(row, "lost" if self.kind == "recording" else "fault")
            return None if row is None else Place(row.store, row.object_key, fault)

    def objects(self) -> list[str]:
        """Names in the bucket, but for its mark."""
        mark = roots.bucket_mark(self.settings)
        return [name for name, _ in places.bucket(self.settings).names() if name != mark]

    def files(self) -> list[Path]:
        """What lies in the folder, but for marks."""
        return [p for p in sorted(self.folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]

    def notes(self) -> int:
        """Files and objects that are to be removed."""
        with db.Session.begin() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(Garbage)) or 0

    def tidy(self) -> None:
        """What is swept now and then, and at starts."""
        deletion.sweep_leftovers(self.settings.archive_dir)
        if self.kind == "clip":
            clip_keeping.tidy(self.settings.clips_dir)
        elif self.kind == "content":
            file_keeping.tidy(self.settings.files_dir)

    def later(self) -> int:
        """What is swept once no upload can be on its way; how many objects."""
        with db.Session.begin() as session:
            session.execute(sa.update(Garbage).values(due_at=sa.func.now() - recordings.LONGEST_UPLOAD))
        return moving.sweep(self.settings)
