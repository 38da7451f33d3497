"""How each kind of fault is done and undone."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress

import psutil

from tests.chaos.plan import KINDS, Step
from tests.chaos.world import Channel, World
from tests.station.live import Live, LiveFault
from tests.station.mount import Fault, Mount

Undo = Callable[[], None]
_HTML = b"<!DOCTYPE html><html><body>Gone fishing.</body></html>" * 40


def _nothing() -> None:
    """There is nothing to undo."""


def begin(world: World, step: Step) -> Undo:
    """Do it; what undoes it. A thing that is not there (any more) is left alone."""
    scope = KINDS[step.kind].scope
    if step.channel is None:
        return _SCOPES[scope](world, step.kind)
    channel = world.channels[step.channel]
    if channel.is_deleted:
        return _nothing
    if scope == "channel":
        return _channel(world, channel, step.kind)
    mount = channel.mount
    if isinstance(mount, Live):
        return _hls(mount, step.kind) if scope == "hls" else _nothing
    return _source(world, mount, step.kind) if scope == "source" else _nothing


# --- the station ------------------------------------------------------------------------------------------


def _source(world: World, mount: Mount, kind: str) -> Undo:
    if kind in {"fin", "rst"}:
        mount.hang_up(reset=kind == "rst")
        return _nothing
    if kind == "shut":
        world.station.shut(mount)
        return lambda: world.station.reopen(mount)
    if kind in _REFUSALS:
        status, body, headers = _REFUSALS[kind]
        mount.refuse(status, body, **headers)
    else:
        mount.fault = _FAULTS[kind]
    return _nothing if kind in {"page", "torn"} else lambda: setattr(mount, "fault", None)


_REFUSALS: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "denied": ("403 Forbidden", b"", {}),
    "busy": ("503 Service Unavailable", b"", {"Retry_After": "3"}),
    "web_page": ("200 OK", _HTML, {"Content_Type": "text/html"}),
}
_FAULTS = {
    "stall": Fault.STALL,
    "drip": Fault.DRIP,
    "silent": Fault.SILENT,
    "slow_head": Fault.SLOW_HEAD,
    "garbage": Fault.GARBAGE,
    "page": Fault.PAGE,
    "torn": Fault.TRUNCATE,
    "flips": Fault.FLIP,
}


def _hls(live: Live, kind: str) -> Undo:
    if kind in _LIVE_FAULTS:
        live.fault = _LIVE_FAULTS[kind]
        return lambda: setattr(live, "fault", None)
    _RENUMBERED[kind](live)
    return _nothing


_LIVE_FAULTS = {
    "hls_away": LiveFault.AWAY,
    "hls_blink": LiveFault.AWAY,
    "hls_frozen": LiveFault.FROZEN,
    "hls_gone": LiveFault.GONE,
    "hls_broken": LiveFault.BROKEN,
    "hls_torn": LiveFault.TORN,
    "hls_variant": LiveFault.VARIANT,
}
_RENUMBERED: dict[str, Callable[[Live], None]] = {
    "hls_reset": Live.reset,
    "hls_jump": Live.jump,
    "hls_back": Live.step_back,
    "hls_break": Live.break_off,
}


# --- the API ----------------------------------------------------------------------------------------------


def _channel(world: World, channel: Channel, kind: str) -> Undo:
    if kind == "disable":
        world.change(channel, enabled=False)
        return lambda: _enable(world, channel)
    if kind == "rename":
        world.change(channel, name=f"Chaos {channel.number}, renamed")
    elif kind == "move" and world.spares:
        before, after = channel.mount, world.spares.pop(0)
        channel.mounts.append(after)
        world.change(channel, url=world.url(after))
        world.spares.append(before)
    elif kind == "delete":
        channel.is_deleted = True
        world.ask("DELETE", f"/channel/{channel.id}")
    elif kind == "create" and world.spares:
        world.create(world.spares.pop(0))
    return _nothing


def _enable(world: World, channel: Channel) -> None:
    if not channel.is_deleted:
        world.change(channel, enabled=True)


# --- processes --------------------------------------------------------------------------------------------


def _recorder(world: World, kind: str) -> Undo:
    recorder = world.recorder()
    if recorder is None:
        return _nothing
    if kind == "recorder_kill":
        recorder.kill()
    elif kind == "recorder_restart":
        recorder.terminate()
    elif kind == "recorder_replace":
        recorder.send_signal(signal.SIGUSR2)
    else:
        return _frozen([recorder])
    return _nothing


def _child(world: World, _: str) -> Undo:
    """Every ffmpeg that captures a channel is killed."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = recorder.children() if (recorder := world.recorder()) else []
    for child in children:
        with suppress(psutil.NoSuchProcess):
            if "ffmpeg" in child.name():
                child.kill()
    return _nothing


def _database(world: World, kind: str) -> Undo:
    postmaster = world.postmaster()
    if postmaster is None:
        return _nothing
    with suppress(psutil.NoSuchProcess):
        if kind == "backend_kill":
            backends = [child for child in postmaster.children() if "streamrec" in "".join(child.cmdline())]
            if backends:
                backends[0].kill()
        elif kind == "database_restart":
            os.kill(postmaster.pid, signal.SIGQUIT)  # immediate: postgres(1)
        elif kind == "database_kill":
            _kill([postmaster, *postmaster.children()])
        elif kind == "database_away":
            return _away(world, postmaster)
        else:
            return _frozen([postmaster, *postmaster.children()])
    return _nothing


def _away(world: World, postmaster: psutil.Process) -> Undo:
    """Stopped, and not started again: whoever would start it waits for the lock that we hold meanwhile."""
    door = os.open(world.instance.data / "run" / "postgres.lock", os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(door, fcntl.LOCK_EX)
    os.kill(postmaster.pid, signal.SIGINT)  # fast: postgres(1)
    return lambda: os.close(door)


def _kills(world: World, kind: str) -> Undo:
    """The machine loses its processes at once; whoever keeps them starts them again."""
    if kind == "all_kill" and (recorder := world.recorder()) is not None:
        recorder.kill()
    return _database(world, "database_kill")


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _frozen(processes: list[psutil.Process]) -> Undo:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()

    def resume() -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    return resume


# --- the disk ---------------------------------------------------------------------------------------------


def _disk(world: World, _: str) -> Undo:
    """Full: a file takes what is left. (Read-only cannot be had while files are open: mount(2), EBUSY.)"""
    if not world.archive.is_mount():
        return _nothing
    filler = world.archive / ".filler"
    with suppress(OSError), filler.open("wb", buffering=0) as sink:
        os.posix_fallocate(sink.fileno(), 0, max(1, shutil.disk_usage(world.archive).free - (8 << 20)))
        sink.seek(0, os.SEEK_END)
        while True:
            sink.write(bytes(1 << 16))
    return lambda: filler.unlink(missing_ok=True)


_SCOPES = {"child": _child, "recorder": _recorder, "database": _database, "disk": _disk, "kills": _kills}
