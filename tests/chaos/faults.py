"""How each kind of fault is done and undone."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from tests.chaos.plan import KINDS, Step
from tests.chaos.world import Channel, Done, World
from tests.station.live import Live, LiveFault
from tests.station.mount import Fault, Mount

Undo = Callable[[], None]
_HTML = b"<!DOCTYPE html><html><body>Gone fishing.</body></html>" * 40


def _nothing() -> None:
    """There is nothing to undo."""


def inject(world: World, step: Step) -> tuple[Done, Undo] | None:
    """Do it and note it, with what undoes it; what cannot be done is counted as left out, and excuses nothing."""
    done = Done(step.kind, step.channel, time.time())
    undo = _begun(world, step)
    if undo is None:
        world.left_out[step.kind] += 1
        return None
    done.ended = done.began
    world.done.append(done)
    return done, undo


def _begun(world: World, step: Step) -> Undo | None:
    """What undoes it; None if what it befalls is not there (any more)."""
    scope = KINDS[step.kind].scope
    if step.channel is None:
        return _SCOPES[scope](world, step.kind)
    channel = world.channels[step.channel]
    if channel.is_deleted:
        return None
    if scope == "channel":
        return _channel(world, channel, step.kind)
    mount = channel.mount
    if isinstance(mount, Live):
        return _hls(mount, step.kind) if scope == "hls" else None
    return _source(world, mount, step.kind) if scope == "source" else None


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


def _channel(world: World, channel: Channel, kind: str) -> Undo | None:
    if kind in {"move", "create"} and not world.spares:
        return None
    if kind == "disable":
        world.change(channel, enabled=False)
        return lambda: _enable(world, channel)
    if kind == "rename":
        world.change(channel, name=f"Chaos {channel.number}, renamed")
    elif kind == "move":
        before, after = channel.mount, world.spares.pop(0)
        channel.mounts.append(after)
        world.change(channel, url=world.url(after))
        world.spares.append(before)
    elif kind == "delete":
        channel.is_deleted = True
        world.ask("DELETE", f"/channel/{channel.id}")
    else:
        world.create(world.spares.pop(0))
    return _nothing


def _enable(world: World, channel: Channel) -> None:
    if not channel.is_deleted:
        world.change(channel, enabled=True)


# --- processes --------------------------------------------------------------------------------------------


_SIGNALS = {
    "recorder_kill": signal.SIGKILL,
    "recorder_restart": signal.SIGTERM,
    "recorder_replace": signal.SIGUSR2,
}


def _recorder(world: World, kind: str) -> Undo | None:
    recorder = world.recorder()
    found = [recorder] if recorder is not None else []
    return _sent(found, _SIGNALS[kind]) if kind in _SIGNALS else _frozen(found)


def _child(world: World, _: str) -> Undo | None:
    """Every ffmpeg that captures a channel is killed."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = recorder.children() if (recorder := world.recorder()) else []
    return _sent([child for child in children if "ffmpeg" in _name(child)], signal.SIGKILL)


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return str(process.name())
    return ""


def _database(world: World, kind: str) -> Undo | None:
    postmaster = world.postmaster()
    with suppress(psutil.NoSuchProcess):
        family = [postmaster, *postmaster.children()] if postmaster is not None else []
        if kind == "backend_kill":
            return _sent([one for one in family[1:] if "streamrec" in "".join(one.cmdline())][:1], signal.SIGKILL)
        if kind == "database_restart":
            return _sent(family[:1], signal.SIGQUIT)  # immediate: postgres(1)
        if kind == "database_kill":
            return _sent(family, signal.SIGKILL)
        return _away(world, family[:1]) if kind == "database_away" else _frozen(family)
    return None


def _away(world: World, postmasters: list[psutil.Process]) -> Undo | None:
    """Stopped, and not started again: whoever would start it waits for the lock that we hold meanwhile."""
    door = os.open(world.instance.data / "run" / "postgres.lock", os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(door, fcntl.LOCK_EX)
    if _sent(postmasters, signal.SIGINT) is not None:  # fast: postgres(1)
        return lambda: os.close(door)
    os.close(door)
    return None


def _kills(world: World, kind: str) -> Undo | None:
    """The machine loses its processes at once; whoever keeps them starts them again."""
    recorder = _recorder(world, "recorder_kill") if kind == "all_kill" else None
    return _database(world, "database_kill") or recorder


def _sent(processes: list[psutil.Process], number: signal.Signals) -> Undo | None:
    """Nothing to undo; None if there was nobody to hear it."""
    heard = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            heard += 1
    return _nothing if heard else None


def _frozen(processes: list[psutil.Process]) -> Undo | None:
    if _sent(processes, signal.SIGSTOP) is None:
        return None

    def resume() -> None:
        _sent(processes, signal.SIGCONT)

    return resume


# --- the disk ---------------------------------------------------------------------------------------------


def _disk(world: World, _: str) -> Undo | None:
    """Full: a file takes what is left. (Read-only cannot be had while files are open: mount(2), EBUSY.)"""
    if not world.archive.is_mount():
        return None
    filler = world.archive / ".filler"
    with suppress(OSError), filler.open("wb", buffering=0) as sink:
        os.posix_fallocate(sink.fileno(), 0, max(1, shutil.disk_usage(world.archive).free - (8 << 20)))
        sink.seek(0, os.SEEK_END)
        while True:
            sink.write(bytes(1 << 16))
    return lambda: filler.unlink(missing_ok=True)


_SCOPES = {"child": _child, "recorder": _recorder, "database": _database, "disk": _disk, "kills": _kills}
