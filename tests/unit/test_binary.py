"""Which ffmpeg is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamrec.errors import NotReady
from streamrec.media import binary


def pretend(folder: Path, version: str, name: str = "ffmpeg") -> Path:
    """A program that answers as ffmpeg does."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'ffmpeg version {version} Copyright'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("9.0.2-tessus", (9, 0, 2)),
        ("n9.1-17-gabc", (9, 1, 0)),
        ("5.1.9-0+deb12u1", (5, 1, 9)),
        ("git-2026", (0, 0, 0)),
    ],
)
def test_versions_are_read_as_builders_write_them(tmp_path: Path, version: str, number: tuple[int, int, int]):
    """Distributions and wheels each have their own way."""
    assert binary.inspect(str(pretend(tmp_path, version))).number == number


def test_what_a_setting_names_is_taken_though_it_is_older(tmp_path: Path):
    """The operator decides."""
    path = pretend(tmp_path, "4.0")

    assert binary.find(path).path == str(path)


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho hello\n"])
def test_a_setting_that_names_no_ffmpeg_is_refused(tmp_path: Path, text: str):
    """And not silently replaced."""
    path = tmp_path / "ffmpeg"
    path.write_text(text)
    path.chmod(0o755)

    with pytest.raises(NotReady, match="does not run"):
        binary.find(path)


def test_a_newer_one_on_path_wins_over_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a setting."""
    path = pretend(tmp_path, "99.0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    binary.find.cache_clear()
    try:
        assert binary.find().path == str(path)
    finally:
        binary.find.cache_clear()
