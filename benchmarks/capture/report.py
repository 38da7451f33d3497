"""From readings to a table: medians, their spread, and ratios within the same window. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from benchmarks.capture.processes import Reading


@dataclass(frozen=True)
class Window:
    """What one method did between two readings, per channel."""

    cpu_ms_per_second: float
    pss_mb: float
    complete: float
    processes: int


def window(before: Reading, after: Reading, *, channels: int, bytes_per_second: float) -> Window:
    """The difference of two readings. A process born in between counts from zero; one that ended, not at all."""
    seconds = after.at - before.at
    cpu = sum(spent - before.cpu.get(pid, 0) for pid, spent in after.cpu.items())
    return Window(
        cpu_ms_per_second=cpu / 1e6 / seconds / channels,
        pss_mb=after.pss / 1e6 / channels,
        complete=(after.written - before.written) / (bytes_per_second * seconds * channels),
        processes=after.processes,
    )


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(results: dict[str, list[Window]], reference: str) -> str:
    """A Markdown table: median (least-most) over the windows; ratios are taken window by window."""
    lines = [
        "| method | CPU ms/s/channel | ratio to ffmpeg | PSS MB/channel | ratio | written / offered | processes |",
        "|---|---|---|---|---|---|---|",
    ]
    base = results[reference]
    for name, windows in results.items():
        cpu = [each.cpu_ms_per_second for each in windows]
        ratios = [
            each.cpu_ms_per_second / other.cpu_ms_per_second for each, other in zip(windows, base, strict=True)
        ]
        memory = [each.pss_mb for each in windows]
        memory_ratio = median(memory) / median(each.pss_mb for each in base)
        complete = fmean(
            each.complete for each in windows
        )  # one window alone would show the steps of write buffers
        lines.append(
            f"| {name} | {_spread(cpu, 3)} | {_spread(ratios, 2)} | {median(memory):.2f} | {memory_ratio:.2f} "
            f"| {complete:.3f} | {windows[-1].processes} |"
        )
    return "\n".join(lines)
