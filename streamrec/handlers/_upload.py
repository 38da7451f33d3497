"""Bodies that are too large for memory: handed on piece by piece, bare or out of a form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from email.message import Message
from typing import Final

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser
from starlette.types import Receive

from streamrec.errors import Invalid
from streamrec.handlers._problems import Refused

FIELD: Final = "upfile"  # the document's name of the file in a form
_PIECE_BYTES: Final = 1_048_576
_MOST_HEAD_BYTES: Final = 8192


class Body:
    """The body of one request. Read `pieces` once; `file_name` is known from the first of them on."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> None:
        kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
        self._kind = _header(kind)
        self._receive = receive
        self.file_name: str | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """The file's bytes in pieces of about a mebibyte, each with no copy kept.

        Raises:
            Invalid: a form that is broken, or has anything but one file in `upfile`.
            Refused: the client left before the end.
        """
        gathered = bytearray()
        async for part in self._contents():
            gathered += part
            if len(gathered) >= _PIECE_BYTES:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

    async def _contents(self) -> AsyncIterator[bytes]:
        if self._kind.get_content_type() != "multipart/form-data":
            async for data in self._received():
                yield data
            return
        form = _Form(self._kind)
        async for data in self._received():
            yield form.feed(data)
            self.file_name = form.file_name
        form.end()

    async def _received(self) -> AsyncIterator[bytes]:
        is_more = True
        while is_more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "bad-request", "The request ended before its body did.")
            if message.get("body"):
                yield message["body"]
            is_more = message.get("more_body", False)


def _header(value: bytes) -> Message:
    """A header's value and its parameters, as the standard library's e-mail parser reads them."""
    message = Message()
    message["content-type"] = value.decode("latin-1")
    return message


class _Form:
    """A form with one file (RFC 7578), taken apart while it comes."""

    def __init__(self, kind: Message) -> None:
        boundary = kind.get_param("boundary")
        if not isinstance(boundary, str) or not 0 < len(boundary) <= 70:  # RFC 2046, 5.1.1
            raise Invalid("Content-Type: a form needs a boundary of 1 to 70 characters", field="Content-Type")
        self.file_name: str | None = None
        self._content: list[bytes] = []
        self._head = b""
        self._disposition = b""
        self._name = b""
        self._is_over = False
        self._parser = MultipartParser(
            boundary.encode("latin-1", "replace"),
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._begin_header,
                "on_header_field": self._add_name,
                "on_header_value": self._add_value,
                "on_headers_finished": self._enter,
                "on_part_data": self._add,
                "on_end": self._finish,
            },
        )

    def feed(self, data: bytes) -> bytes:
        """What of the file is in `data`."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise Invalid("body: is no form that can be read", field="body") from error
        content = b"".join(self._content)
        self._content.clear()
        return content

    def end(self) -> None:
        """The body has ended."""
        if self.file_name is None:
            raise Invalid(f"{FIELD}: is required", field=FIELD)
        if not self._is_over:
            raise Invalid("body: the form breaks off", field="body")

    def _begin(self) -> None:
        if self.file_name is not None:
            raise Invalid(f"body: may have one part only, the file {FIELD}", field="body")

    def _begin_header(self) -> None:
        self._name = b""

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._bound(end - start)

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition += data[start:end]
        self._bound(end - start)

    def _bound(self, count: int) -> None:
        self._head += b"." * count
        if len(self._head) > _MOST_HEAD_BYTES:
            raise Invalid(f"body: the head of a part may have {_MOST_HEAD_BYTES} bytes", field="body")

    def _enter(self) -> None:
        disposition = _header(b"text/plain; " + self._disposition.partition(b";")[2])
        if disposition.get_param("name") != FIELD:
            raise Invalid(f"body: may have one part only, the file {FIELD}", field="body")
        given = disposition.get_param("filename") or ""
        name = given if isinstance(given, str) else given[2]
        try:  # browsers send UTF-8 (WHATWG HTML, 4.10.21.8)
            self.file_name = name.encode("latin-1").decode()
        except UnicodeError:
            self.file_name = name

    def _add(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _finish(self) -> None:
        self._is_over = True
