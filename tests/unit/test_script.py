"""Scripts for ffmpeg's stdin, read as ffmpeg reads them, and by ffmpeg itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.media import binary
from streamrec.media.script import script

lines = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=("Cs",)), min_size=1)
names = st.from_regex(r"[a-z_]+", fullmatch=True)


def token(text: str) -> str:
    """av_get_token of libavutil/avstring.c, up to white space; the rest must be empty."""
    made, rest = "", text
    while rest and rest[0] not in " \t":
        if rest[0] == "\\" and len(rest) > 1:
            made, rest = made + rest[1], rest[2:]
        elif rest[0] == "'":
            quoted, _, rest = rest[1:].partition("'")
            made += quoted
        else:
            made, rest = made + rest[0], rest[1:]
    assert rest == ""
    return made


@given(url=lines, options=st.dictionaries(names, lines))
def test_every_address_and_value_is_read_as_it_is(url: str, options: dict[str, str]):
    """Whatever quotes, backslashes, spaces or words of the script's own are in it; and nothing else is said."""
    head, file, *rest = script(url, options).decode().split("\n")[:-1]

    assert head == "ffconcat version 1.0"
    assert token(file.removeprefix("file ")) == url
    assert [token(line.removeprefix(f"option {n} ")) for n, line in zip(options, rest, strict=True)] == [
        *options.values()
    ]


@pytest.mark.parametrize("end", ["\n", "\r", "\0"])
def test_what_would_end_a_line_is_refused(end: str):
    """No quotes keep a line together."""
    with pytest.raises(ValueError, match="hold"):
        script(f"rtmp://h/x{end}file 'rtmp://other/'", {})
    with pytest.raises(ValueError, match="hold"):
        script("rtmp://h/x", {"timeout": f"1{end}"})


NAMES = (
    "it's",
    "'",
    "''",
    "a\\",
    "\\'",
    " space ",
    "tab\t",
    "#",
    "file 'x'",
    'say "x"',
    "-i",
    "%41",
    "ünï",
    "$(x)`",
)


def test_ffmpeg_itself_reads_them_so(tmp_path: Path):
    """A file of each name is opened by it, which nothing else is called."""
    silence = ["-v", "error", "-f", "lavfi", "-i", "anullsrc", "-t", "0.1", "-f", "wav", "pipe:1"]
    executable = binary.find().path
    sound = subprocess.run([executable, *silence], check=True, capture_output=True).stdout
    options = {"protocol_whitelist": "file", "format_whitelist": "wav"}
    for name in NAMES:
        (tmp_path / name).write_bytes(sound)
        reading = ["-v", "error", "-f", "concat", "-safe", "0", "-protocol_whitelist", "pipe", "-i", "pipe:0"]

        read = subprocess.run(
            [executable, *reading, "-f", "null", "-"],
            input=script(f"file:{tmp_path / name}", options),
            capture_output=True,
            check=False,
        )

        assert (name, read.returncode, read.stderr) == (name, 0, b"")
        (tmp_path / name).unlink()
