"""Channel lists as people exchange them: M3U as IPTV and radio lists are, and CSV. Pure."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from streamrec.errors import Invalid

MOST_ENTRIES: Final = 5000
COLUMNS: Final = (
    *("keyname", "name", "type", "url", "enabled", "segment_seconds", "capture", "tags", "country", "language"),
    *("backup_urls", "tls_verify", "max_bandwidth"),
)

_EXTINF = re.compile(r"#EXTINF:\s*-?[0-9.]*\s*", re.IGNORECASE | re.ASCII)
_ATTRIBUTE = re.compile(r'\s*([A-Za-z0-9_-]+)=(?:"([^"]*)"|([^\s,"]*))', re.ASCII)
_AUDIO = re.compile(r"\.(?:mp3|aac|aacp|ogg|oga|opus|flac|m4a)$", re.IGNORECASE)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # how a spreadsheet recognises one; the quote is how we mark it
_TRUTHS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class Entry:
    """One station of a list: the fields that the list gives, as text says them; none is checked yet."""

    line: int
    fields: dict[str, Any]
    identity: str  # what a keyname is made from if the list gives none
    problem: Invalid | None = None


def parse(text: str, form: str) -> list[Entry]:
    """The stations of a list in `m3u` or `csv`.

    Raises:
        Invalid: it is no such list, or holds more than MOST_ENTRIES stations.
    """
    entries: list[Entry] = []
    for entry in (_m3u if form == "m3u" else _csv)(text.removeprefix("\ufeff")):
        if len(entries) == MOST_ENTRIES:
            raise Invalid(f"A list may hold at most {MOST_ENTRIES} channels.", field="body", rule="length")
        entries.append(entry)
    return entries


def keyname_for(identity: str, taken: Container[str]) -> str:
    """A keyname that is not taken; the same for the same identity: readable letters, then four of a hash."""
    plain = unicodedata.normalize("NFKD", identity).encode("ascii", "ignore").decode().lower()
    word = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:5].strip("-")
    salt = 0
    while True:
        digest = hashlib.sha256(f"{identity}\0{salt}".encode("utf-8", "surrogatepass")).digest()
        code = base64.b32encode(digest).decode().lower()
        keyname = f"{word}-{code}"[:10] if word else code[:10]
        if keyname not in taken:
            return keyname
        salt += 1


# --- what both forms share --------------------------------------------------------------------------------


def _entry(line: int, given: Mapping[str, str], identity: str = "") -> Entry:
    """An entry of a list's texts; an empty text is one that is not given."""
    texts = {field: text for field, text in given.items() if text.strip()}
    try:
        fields = {field: _READERS.get(field, str.strip)(text) for field, text in texts.items()}
    except Invalid as problem:
        return Entry(line, {}, identity, problem)
    fields.setdefault("type", _guessed_type(fields.get("url", "")))
    return Entry(line, fields, identity or fields.get("name", "") or fields.get("url", ""))


def _truth(field: str) -> Callable[[str], bool]:
    def read(text: str) -> bool:
        try:
            return _TRUTHS[text.strip().lower()]
        except KeyError:
            raise Invalid(f"The field {field} must be true or false.", field=field, rule="type") from None

    return read


def _whole_number(field: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"\s*[0-9]{1,15}\s*", text, re.ASCII):
            raise Invalid(f"The {field} must be a whole number.", field=field, rule="type")
        return int(text)

    return read


def _tags(text: str) -> list[str]:
    return [unquote(tag).strip() for tag in text.split(";") if tag.strip()]


def _written_tags(tags: Iterable[str]) -> str:
    return ";".join(re.sub('[%;"]', lambda match: f"%{ord(match[0]):02X}", tag) for tag in tags)


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "enabled": _truth("enabled"),
    "segment_seconds": _whole_number("segment_seconds"),
    "tags": _tags,
    "backup_urls": str.split,
    "tls_verify": _truth("tls_verify"),
    "max_bandwidth": _whole_number("max_bandwidth"),
    "name": str,
}


def _guessed_type(url: str) -> str:
    """Radio if the address ends like an audio file or Shoutcast's ";", else TV."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return "TV"
    return "radio" if _AUDIO.search(path) or path.endswith((";", "/stream")) else "TV"


# --- M3U --------------------------------------------------------------------------------------------------


def _m3u(text: str) -> Iterator[Entry]:
    """The entries of an extended M3U: attributes and title in #EXTINF, then the address."""
    attributes: dict[str, str] = {}
    title = ""
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if _EXTINF.match(line):
            attributes, title = _extinf(line)
        elif line.upper().startswith("#EXTGRP:"):
            attributes.setdefault("group-title", line[8:])
        elif line.strip() and not line.startswith("#"):
            yield _station(number, attributes, title, line)
            attributes, title = {}, ""


def _extinf(line: str) -> tuple[dict[str, str], str]:
    """The attributes and the title, which begins after the first comma outside of quotes."""
    match = _EXTINF.match(line)
    position = match.end() if match else 0
    attributes: dict[str, str] = {}
    while match := _ATTRIBUTE.match(line, position):
        attributes[match[1].lower()] = match[2] if match[2] is not None else match[3]
        position = match.end()
    return attributes, line[position:].partition(",")[2]


def _station(line: int, attributes: Mapping[str, str], title: str, url: str) -> Entry:
    def own(name: str) -> str:
        return attributes.get(f"streamrec-{name}", "")

    name = title.strip() or attributes.get("tvg-name", "").strip() or (urlsplit_host(url) if not title else "")
    given = {
        "keyname": own("keyname"),
        "name": name,
        "url": url,
        "enabled": own("enabled"),
        "segment_seconds": own("segment-seconds"),
        "capture": own("capture"),
        "backup_urls": own("backup-urls"),
        "tls_verify": own("tls-verify"),
        "max_bandwidth": own("max-bandwidth"),
        "tags": own("tags") or _group(attributes.get("group-title", "")),
        "country": _first(attributes.get("tvg-country", ""), r"[A-Za-z]{2}"),
        "language": _first(attributes.get("tvg-language", ""), r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*"),
    }
    if "radio" in attributes:
        given["type"] = "radio" if attributes["radio"].strip().lower() in {"true", "1", "yes"} else "TV"
    return _entry(line, given, attributes.get("tvg-id", "").strip() or name)


def urlsplit_host(url: str) -> str:
    """The host of an address without its user name, to call a station that has no name."""
    try:
        return urlsplit(url.strip()).hostname or ""
    except ValueError:
        return ""


def _group(text: str) -> str:
    """`group-title` as it is: its percent signs mean themselves."""
    return _written_tags(tag for tag in text.split(";"))


def _first(text: str, pattern: str) -> str:
    """The first of several values if it is a code; lists write whole words here too, which say nothing to us."""
    value = re.split("[;,]", text)[0].strip()
    return value if re.fullmatch(pattern, value, re.ASCII) else ""


def m3u(channels: Iterable[Mapping[str, Any]]) -> str:
    """An M3U list that players understand and `parse` reads back."""
    lines = ["#EXTM3U"]
    for channel in channels:
        attributes = {
            "tvg-id": channel["keyname"],
            "tvg-name": channel["name"],
            "tvg-country": channel["country"] or "",
            "tvg-language": channel["language"] or "",
            "group-title": ";".join(channel["tags"]),
            "radio": "true" if channel["type"] == "radio" else "false",
            "streamrec-keyname": channel["keyname"],
            "streamrec-tags": _written_tags(channel["tags"]),
            "streamrec-enabled": str(channel["enabled"]).lower(),
            "streamrec-segment-seconds": str(channel["segment_seconds"]),
            "streamrec-capture": channel["capture"],
            "streamrec-backup-urls": " ".join(channel["backup_urls"]).replace('"', "%22"),
            "streamrec-tls-verify": str(channel["tls_verify"]).lower(),
            "streamrec-max-bandwidth": str(channel["max_bandwidth"] or ""),
        }
        written = "".join(
            f' {name}="{value.replace(chr(34), chr(39))}"' for name, value in attributes.items() if value
        )
        lines += [f"#EXTINF:-1{written},{channel['name']}", channel["url"]]
    return "\n".join(lines) + "\n"


# --- CSV --------------------------------------------------------------------------------------------------


def _csv(text: str) -> Iterator[Entry]:
    """The entries of a CSV with a header line (RFC 4180); spreadsheets separate with semicolons and tabs too."""
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    before = 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as exc:
            yield Entry(before + 1, {}, "", Invalid(f"The rest cannot be read as CSV: {exc}.", field="body"))
            return
        if row is None:
            break
        line, before = before + 1, reader.line_num
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = _header(row)
        elif len(row) > len(header):
            yield Entry(line, {}, "", Invalid("The line has more cells than the header.", field="body"))
        else:
            yield _entry(line, dict(zip(header, map(_unguarded, row), strict=False)))
    if header is None:
        raise Invalid("The CSV needs a header line.", field="body", rule="header")


def _header(row: Sequence[str]) -> list[str]:
    names = [cell.strip().lower() for cell in row]
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or len(set(names)) < len(names) or "url" not in names:
        raise Invalid(
            f"The header line must name columns among {', '.join(COLUMNS)}, each once, with url among them.",
            field="body",
            rule="header",
        )
    return names


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:2] in _FORMULA else cell


def guarded(cell: str) -> str:
    """The cell marked as text if a spreadsheet would compute it (CWE-1236)."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV (RFC 4180) whose cells no spreadsheet computes; None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header)
    for row in rows:
        writer.writerow(["" if cell is None else guarded(str(cell)) for cell in row])
    return out.getvalue()


def csv_list(channels: Iterable[Mapping[str, Any]]) -> str:
    """A CSV list that spreadsheets open safely and `parse` reads back."""
    return table(COLUMNS, ([_cell(field, channel[field]) for field in COLUMNS] for channel in channels))


def _cell(field: str, value: Any) -> Any:
    if field == "backup_urls":
        return " ".join(value)  # no URL has a space
    if isinstance(value, list):
        return _written_tags(value)
    return str(value).lower() if isinstance(value, bool) else value
