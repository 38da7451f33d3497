"""Clips of real recordings: what they hold is what was on air, to the frame."""

from __future__ import annotations

import hashlib
import zipfile
from datetime import datetime, timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.engine import Engine

from streamrec import db, jobs, losses, roots
from streamrec.archive import places
from streamrec.archive.files import Tree
from streamrec.archive.looking import Fault
from streamrec.archive.storage import Bucket, StorageAway
from streamrec.clips import making, rows
from streamrec.clips.recipes import ClipFormat
from streamrec.errors import Conflict, Invalid, Unavailable
from streamrec.jobworker import tasks
from streamrec.jobworker import work as worker
from streamrec.keyset import Row
from streamrec.models import CoverageKind, GapPolicy, GapReason, JobKind, Loss, Recorder, Recording, Store
from streamrec.settings import Settings
from streamrec.timeline import Span
from tests import factories, samples, store
from tests.clips.archive import Air, Work, on_air
from tests.factories import T0, at

pytestmark = pytest.mark.usefixtures("engine")


def a_channel(**changes: Any) -> int:
    """A channel that a recorder is at: what it has not told of long ago, it will not."""
    with db.Session.begin() as session:
        channel_id = factories.channel(session, expected_from=T0, **changes).id
        factories.capturing(session, channel_id)
        return channel_id


def recorded(settings: Settings, channel_id: int, name: str, **options: Any) -> Air:
    with db.Session.begin() as session:
        return on_air(session, settings, channel_id, name, **options)


def ordered(channel_id: int, start: float, end: float, **options: Any) -> Row:
    with db.Session.begin() as session:
        return rows.create(session, rows.Order(channel_id, Span(at(start), at(end)), **options))


def made(settings: Settings, channel_id: int, start: float, end: float, **options: Any) -> Path:
    """The file of a clip of `at(start)`..`at(end)`."""
    clip = ordered(channel_id, start, end, **options)
    with db.Session.begin() as session:
        attempt = jobs.begin(session, clip.job_id)
        assert attempt is not None
    assert making.make(settings, Work(clip.job_id, attempt.attempts)) == f"/clip/{clip.id}"
    return settings.clips_dir / row(clip).path


def row(clip: Row) -> Row:
    with db.Session.begin() as session:
        return rows.get(session, clip.id)


def only_clip() -> Row:
    with db.Session.begin() as session:
        (found,) = rows.page(session).rows
        return found


def manifest_of(path: Path) -> dict[str, Any]:
    """Of the clip whose file this is."""
    with db.Session.begin() as session:
        (found,) = [each for each in rows.page(session).rows if each.path and path.match(f"*/{each.path}")]
        return rows.manifest(session, found.id)


@pytest.mark.parametrize("name", ["mp3.mp3", "vbr.mp3", "aac.aac"])
@pytest.mark.parametrize(("start", "end"), [(0.0, 2.5), (1.2345, 4.5), (2.1, 2.2), (0.5, 5.9)])
def test_a_radios_clip_holds_the_frames_that_begin_in_the_range(
    settings: Settings, name: str, start: float, end: float
) -> None:
    channel_id = a_channel()
    air = recorded(settings, channel_id, name)

    path = made(settings, channel_id, start, end)

    assert path.read_bytes() == air.between(at(start), at(end))


def test_clips_that_meet_share_no_frame_and_miss_none(settings: Settings) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    ends = [0.0, 1.111, 2.0, 2.1, 3.7, 5.0]

    parts = [made(settings, channel_id, *pair).read_bytes() for pair in pairwise(ends)]

    assert b"".join(parts) == made(settings, channel_id, 0.0, 5.0).read_bytes()


def test_the_row_says_what_the_file_is(settings: Settings) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")

    path = made(settings, channel_id, 1.0, 3.0)

    told = manifest_of(path)
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["size_bytes"] == path.stat().st_size
    assert told["lossless"]
    assert [len(source["sha256"]) for source in told["recordings"]] == [64, 64]
    assert told["recordings"][0]["first_byte"] > 0
    assert told["recordings"][1]["first_byte"] == 0


def test_a_wave_is_what_the_frames_decode_to(settings: Settings, tmp_path: Path) -> None:
    """Also at its beginning, although MP3 frames lean on those before them."""
    channel_id = a_channel()
    air = recorded(settings, channel_id, "mp3.mp3")
    (tmp_path / "all.mp3").write_bytes(b"".join(unit.data for unit in air.units))
    samples.ffmpeg("-i", str(tmp_path / "all.mp3"), "-c:a", "pcm_s16le", str(tmp_path / "all.wav"))

    path = made(settings, channel_id, 2.5, 4.5, format=ClipFormat.WAV)

    sound = sound_of(path)
    assert len(sound) > 2 * 88_000
    assert sound in (tmp_path / "all.wav").read_bytes()
    assert manifest_of(path)["lossless"]


def sound_of(path: Path) -> bytes:
    """The samples of a WAV file."""
    data = path.read_bytes()
    return data[data.index(b"data") + 8 :]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        *(("mp3.mp3", form) for form in ("aac", "m4a", "flac", "mp4", "mkv", "ts")),
        *(("aac.aac", form) for form in ("mp3", "m4a", "wav", "mp4", "mkv", "ts")),
        *(("tv.ts", form) for form in ("mp3", "aac", "m4a", "wav", "flac", "mkv", "ts")),
        *(("tv.mp4", form) for form in ("mp4", "ts", "m4a")),
    ],
)
def test_every_format_is_made_and_plays_for_as_long_as_was_asked(
    settings: Settings, name: str, wanted: str
) -> None:
    channel_id = a_channel(type="TV" if name.startswith("tv") else "radio")
    recorded(settings, channel_id, name)

    path = made(settings, channel_id, 1.5, 4.5, format=ClipFormat(wanted))

    assert path.suffix == f".{wanted}"
    slack = 1.2 if name.startswith("tv") and wanted in {"ts", "mkv"} else 0.15  # from the key picture before
    assert length_of(path) == pytest.approx(3.0, abs=slack)


def length_of(path: Path) -> float:
    """Seconds of what a player hears; ffmpeg says how far it came."""
    lines = samples.ffmpeg(
        "-i", str(path), "-map", "0:a:0", "-f", "framemd5", "-c:a", "pcm_s16le", "-"
    ).splitlines()
    rate = next(int(line.split()[-1]) for line in lines if line.startswith("#sample_rate"))
    return sum(int(line.split(",")[3]) for line in lines if not line.startswith("#")) / rate


def pictures_of(path: Path) -> list[str]:
    """A hash of each picture that a player shows."""
    lines = samples.ffmpeg("-i", str(path), "-map", "0:v:0", "-f", "framemd5", "-fps_mode", "passthrough", "-")
    return [line.split(",")[5].strip() for line in lines.splitlines() if not line.startswith("#")]


def test_a_television_clip_begins_between_key_pictures_by_an_edit_list(settings: Settings, tmp_path: Path) -> None:
    """The pictures shown are the station's, from the one asked for."""
    channel_id = a_channel(type="TV")
    air = recorded(settings, channel_id, "tv.ts")
    (tmp_path / "all.ts").write_bytes(b"".join(unit.data for unit in air.units))
    everything = pictures_of(tmp_path / "all.ts")

    path = made(settings, channel_id, 1.52, 4.52, format=ClipFormat.MP4)

    shown = pictures_of(path)
    first = everything.index(shown[0])
    assert first == pytest.approx(1.52 * 25, abs=1)
    assert shown[:75] == everything[first : first + 75]
    assert len(shown) == pytest.approx(75, abs=2)  # the last may need one behind them
    assert manifest_of(path)["lossless"]


@pytest.mark.parametrize("wanted", [ClipFormat.TS, ClipFormat.MKV])
def test_what_is_in_a_file_before_the_range_is_told_as_in_it(settings: Settings, wanted: ClipFormat) -> None:
    channel_id = a_channel(type="TV")
    recorded(settings, channel_id, "tv.ts")

    path = made(settings, channel_id, 1.52, 4.52, format=wanted)

    seconds, told = only_clip().seconds, manifest_of(path)
    assert seconds > 3.1
    assert seconds == pytest.approx(len(pictures_of(path)) / 25, abs=0.1)
    begins = datetime.fromisoformat(told["start_time"])
    assert (datetime.fromisoformat(told["end_time"]) - begins).total_seconds() == pytest.approx(seconds, abs=0.01)
    assert told["recordings"][0]["start_time"] == told["start_time"]


def test_an_exact_clip_is_coded_anew_from_the_instant_itself(settings: Settings) -> None:
    channel_id = a_channel(type="TV")
    recorded(settings, channel_id, "tv.ts")

    path = made(settings, channel_id, 1.52, 4.52, format=ClipFormat.MP4, exact=True)

    assert len(pictures_of(path)) == pytest.approx(75, abs=1)
    assert only_clip().seconds == pytest.approx(3.0, abs=0.04)
    assert not manifest_of(path)["lossless"]


def with_a_gap(settings: Settings) -> tuple[int, Air, Air]:
    """Two runs of about 6 s with four seconds between them."""
    channel_id = a_channel()
    one = recorded(settings, channel_id, "mp3.mp3")
    two = recorded(settings, channel_id, "mp3.mp3", start=at(10))
    with db.Session.begin() as session:
        factories.covered(session, channel_id, 6.1, 10, CoverageKind.GAP, GapReason.STALLED)
    return channel_id, one, two


def test_gaps_are_left_out_and_told(settings: Settings) -> None:
    channel_id, one, two = with_a_gap(settings)

    path = made(settings, channel_id, 5, 12)

    assert path.read_bytes() == one.between(at(5), at(12)) + two.between(at(5), at(12))
    assert ("gap", "stalled") in {(gap["kind"], gap["reason"]) for gap in manifest_of(path)["gaps"]}


def test_a_recording_that_is_lost_is_a_gap(settings: Settings) -> None:
    channel_id = a_channel()
    air = recorded(settings, channel_id, "mp3.mp3")
    with db.Session.begin() as session:
        second = session.scalars(sa.select(Recording).order_by(Recording.start_time)).all()[1]
        losses.note(session, second, Fault(Loss.MISSING, "missing"))

    path = made(settings, channel_id, 0, 6)

    assert path.read_bytes() == air.between(T0, second.start_time) + air.between(second.end_time, at(6))
    assert [gap["kind"] for gap in manifest_of(path)["gaps"]] == ["lost"]
    with pytest.raises(Conflict):
        ordered(channel_id, 0, 6, gaps=GapPolicy.REFUSE)


def test_gaps_are_filled_with_silence_so_that_the_clip_is_as_long_as_its_range(settings: Settings) -> None:
    channel_id, one, two = with_a_gap(settings)

    path = made(settings, channel_id, 5, 12, gaps=GapPolicy.FILL)

    data = path.read_bytes()
    assert data.startswith(one.between(at(5), at(12)))
    assert data.endswith(two.between(at(5), at(12)))
    assert length_of(path) == pytest.approx(7.0, abs=0.1)
    assert manifest_of(path)["filled"][0]["frames"] > 100


def test_a_job_does_not_take_what_may_still_come_for_a_gap(settings: Settings) -> None:
    """Asked for while a recorder lived; now none does, and one that is cut off may have more in its spool."""
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    ordered(channel_id, 4, 8)
    with db.Session.begin() as session:
        session.execute(sa.update(Recorder).values(heartbeat_at=T0))

    with pytest.raises(Conflict, match="is not in a closed file yet"):
        making.make(settings, Work(only_clip().job_id))


def test_gaps_are_refused_where_that_is_asked_for(settings: Settings) -> None:
    channel_id, _, _ = with_a_gap(settings)

    with pytest.raises(Conflict, match="1 gaps"):
        ordered(channel_id, 5, 12, gaps=GapPolicy.REFUSE)


def test_a_zip_holds_the_original_files_and_their_hashes(settings: Settings) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")

    path = made(settings, channel_id, 2.5, 5, format=ClipFormat.ZIP)

    with zipfile.ZipFile(BytesIO(path.read_bytes())) as archive:
        assert archive.testzip() is None
        names = [name for name in archive.namelist() if name != "manifest.json"]
        told = {source["path"]: source["sha256"] for source in manifest_of(path)["recordings"]}
        assert {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names} == told
        assert "manifest.json" in archive.namelist()


def test_a_range_without_recordings_is_refused(settings: Settings) -> None:
    channel_id = a_channel()

    with pytest.raises(Invalid, match="nothing was recorded"):
        ordered(channel_id, 0, 5)


def test_recordings_of_different_formats_make_no_single_clip(settings: Settings) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    recorded(settings, channel_id, "aac.aac", start=at(10))

    with pytest.raises(Invalid, match="different formats"):
        ordered(channel_id, 0, 12)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_that_is_gone_is_told_and_leaves_nothing_behind(settings: Settings) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    for path in files_in(settings.archive_dir):
        path.unlink()
    clip = ordered(channel_id, 0, 5)

    with pytest.raises(Unavailable, match="cannot be read"):
        making.make(settings, Work(clip.job_id))

    assert files_in(settings.clips_dir) == []


def test_a_file_that_is_gone_is_a_gap_of_the_clip_that_needed_it(settings: Settings) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    with db.Session.begin() as session, Tree(settings.archive_dir) as tree:
        roots.expected(session, tree, host="here")
        first, gone, last, *_ = session.scalars(sa.select(Recording).order_by(Recording.start_time))
    (settings.archive_dir / gone.path).unlink()
    clip = ordered(channel_id, 0, 5)
    with db.Session.begin() as session:
        jobs.begin(session, clip.job_id)

    tasks.of(settings)[JobKind.CLIP](worker.Work(clip.job_id, 1, lambda: False))

    parts = manifest_of(settings.clips_dir / row(clip).path)["recordings"]
    assert [part["id"] for part in parts] == [first.id, last.id]


def test_an_attempt_that_was_taken_over_leaves_no_file(settings: Settings) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    clip = ordered(channel_id, 0, 5)
    with db.Session.begin() as session:
        jobs.begin(session, clip.job_id)
        jobs.begin(session, clip.job_id)

    with pytest.raises(Conflict):
        making.make(settings, Work(clip.job_id, attempt=1))

    assert files_in(settings.clips_dir) == []
    assert row(clip).path is None


def test_media_that_is_no_media_fails_in_a_sentence(settings: Settings, engine: Engine) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    for path in files_in(settings.archive_dir):
        path.write_bytes(b"\0" * path.stat().st_size)
    clip = ordered(channel_id, 0, 5, format=ClipFormat.WAV)

    with pytest.raises(Unavailable):
        making.make(settings, Work(clip.job_id))

    assert files_in(settings.clips_dir) == []


def test_the_clip_of_a_whole_recording_is_that_recording(settings: Settings) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    with db.Session.begin() as session:
        plan = rows.plan_of(session, channel_id, Span(T0, T0 + timedelta(seconds=6)))
    source = plan.takes[1].source

    path = made(settings, channel_id, seconds_of(source.span.start), seconds_of(source.span.end))

    assert hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256


def seconds_of(moment: datetime) -> float:
    return (moment - T0).total_seconds()


def test_recordings_that_lie_in_a_bucket_are_cut_like_others(settings: Settings) -> None:
    channel_id = a_channel()
    air = recorded(settings, channel_id, "mp3.mp3")
    with store.running() as endpoint:
        away = moved_to_a_bucket(settings, store.new_bucket(endpoint))

        path = made(away, channel_id, 1.5, 4.5)

    assert path.read_bytes() == air.between(at(1.5), at(4.5))
    assert files_in(away.clips_dir) == [path]


@pytest.mark.parametrize("fault", ["away", "another"])
def test_a_clip_of_recordings_in_a_bucket_that_is_not_proved_ours_is_one_to_try_again(
    settings: Settings, fault: str
) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    with store.running() as endpoint:
        ours = moved_to_a_bucket(settings, store.new_bucket(endpoint))
        roots.bucket(ours)
        another = store.new_bucket(endpoint).name
        change = {"away": {"s3_endpoint": "http://127.0.0.1:1"}, "another": {"s3_bucket": another}}
        clip = ordered(channel_id, 1.5, 4.5)

        with pytest.raises(StorageAway, match="The bucket"):
            making.make(ours.model_copy(update=change[fault]), Work(clip.job_id))


def moved_to_a_bucket(settings: Settings, bucket: Bucket) -> Settings:
    """The same instance after all of its recordings were handed over."""
    names = {"s3_bucket": bucket.name, "s3_endpoint": bucket.endpoint, "s3_access_key": bucket.access_key}
    away = settings.model_copy(update={**names, "s3_secret_key": SecretStr(bucket.secret_key or "")})
    for path in files_in(settings.archive_dir):
        places.bucket(away).put(path.relative_to(settings.archive_dir).as_posix(), path.read_bytes())
        path.unlink()
    with db.Session.begin() as session:
        session.execute(sa.update(Recording).values(store=Store.S3, object_key=Recording.path))
    return away


def test_a_folder_that_takes_no_file_fails_the_clip_in_a_sentence(settings: Settings) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    clip = ordered(channel_id, 0, 5)
    settings.clips_dir.write_text("in the way")

    with pytest.raises(Unavailable, match="could not be written"):
        making.make(settings, Work(clip.job_id))
