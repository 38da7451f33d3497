"""What is read on the beat reaches the disk without a task, and comes back to one when it must."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamrec.models import GapReason
from streamrec.recorder.beat import SECONDS, Beat
from streamrec.recorder.disk import Disk
from streamrec.recorder.events import Chunk, Closed, Event
from streamrec.recorder.feed import Feed
from tests.fakes import FakeClock, WatchedThreads

MEDIA = Chunk(b"x", 0.0)
END = Closed(GapReason.SOURCE_ENDED, "The stream ended.")


class Well:
    """A pump that a test fills."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_rung = self.is_usual = False
        self.on_ring: Callable[[], None] | None = None

    def leaves(self) -> bool:
        return self.is_usual

    def poll(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def ring(self) -> None:
        self.is_rung = True
        assert self.on_ring is not None
        self.on_ring()


class Run:
    """A take that remembers what was written, or fails."""

    is_plain = is_ready = True

    def __init__(self) -> None:
        self.may_wait = True
        self.held = self.written = 0
        self.error: OSError | None = None

    def write(self) -> None:
        if self.error is not None:
            raise self.error
        self.written, self.held = self.written + self.held, 0


class Recording:
    """Takes media, and nothing else."""

    def __init__(self) -> None:
        self.take_to_write = Run()
        self.results: list[bool] = []
        self.left = 0

    def takes(self, event: Event) -> bool:
        self.take_to_write.held += isinstance(event, Chunk)
        return isinstance(event, Chunk)

    def came(self) -> None:
        self.left += 1

    def works(self) -> None:
        pass

    def worked(self, *, well: bool) -> None:
        self.results.append(well)


class Scene:
    """A feed on a beat."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.clock = FakeClock(threads=threads)  # type: ignore[arg-type]
        self.beat = Beat(self.clock)
        self.well, self.recording = Well(), Recording()
        self.feed = Feed(self.well, self.recording, Disk(threads))  # type: ignore[arg-type]


def told(story: Callable[[Scene, asyncio.Task[list[Event]]], object]) -> None:
    async def run() -> None:
        with WatchedThreads() as threads:
            scene = Scene(threads)
            with scene.feed.on(scene.beat):
                unusual = asyncio.create_task(scene.feed.unusual())
                await story(scene, unusual)  # type: ignore[misc]
                unusual.cancel()

    asyncio.run(run())


def test_media_is_written_with_every_beat():
    async def story(scene: Scene, unusual: asyncio.Task[list[Event]]) -> None:
        for _ in range(3):
            scene.well.events = [MEDIA, MEDIA]
            await scene.clock.advance(SECONDS)

        assert (scene.recording.take_to_write.written, scene.recording.results) == (6, [True] * 3)
        assert not unusual.done()

    told(story)


def test_media_that_comes_as_usual_may_be_left_where_it_is():
    async def story(scene: Scene, unusual: asyncio.Task[list[Event]]) -> None:
        scene.well.events, scene.well.is_usual = [MEDIA, MEDIA], True
        await scene.clock.advance(SECONDS)

        assert (scene.recording.left, scene.recording.take_to_write.written) == (1, 0)
        assert not unusual.done()

    told(story)


def test_media_is_not_left_where_it_is_when_something_is_to_be_decided():
    async def story(scene: Scene, unusual: asyncio.Task[list[Event]]) -> None:
        scene.well.events, scene.well.is_usual = [MEDIA, MEDIA], True
        scene.recording.take_to_write.may_wait = False
        await scene.clock.advance(SECONDS)

        assert (scene.recording.left, scene.recording.take_to_write.written) == (0, 2)

    told(story)


def test_what_is_not_taken_comes_to_the_task_with_all_behind_it():
    async def story(scene: Scene, unusual: asyncio.Task[list[Event]]) -> None:
        scene.well.events = [MEDIA, END, MEDIA]
        await scene.clock.advance(SECONDS)

        assert await unusual == [END, MEDIA]

    told(story)


def test_an_end_is_heard_before_the_next_beat():
    async def story(scene: Scene, unusual: asyncio.Task[list[Event]]) -> None:
        await scene.clock.idle()
        scene.well.events = [END]
        scene.well.ring()

        assert await unusual == [END]

    told(story)


def test_a_run_that_needs_more_than_writing_comes_to_the_task_with_what_was_not_taken_yet():
    async def story(scene: Scene, unusual: asyncio.Task[list[Event]]) -> None:
        scene.recording.take_to_write.is_plain = False
        scene.well.events = [MEDIA, END]
        await scene.clock.advance(SECONDS)

        assert await unusual == [END]
        assert scene.recording.take_to_write.held == 1

    told(story)


def test_a_disk_that_fails_is_raised_where_it_is_waited_for():
    async def story(scene: Scene, unusual: asyncio.Task[list[Event]]) -> None:
        scene.recording.take_to_write.error = OSError(28, "No space left on device")
        scene.well.events = [MEDIA]
        await scene.clock.advance(SECONDS)

        with pytest.raises(OSError, match="No space left"):
            await unusual
        assert scene.recording.results == [False]

    told(story)
