"""Why a request came to nothing."""

from __future__ import annotations

from streamrec.models import GapReason


class Refused(Exception):
    """The fetcher gives an attempt up: `detail` is a sentence for a person, without credentials."""

    def __init__(self, reason: GapReason, detail: str, *, retry_after_seconds: float | None = None) -> None:
        """`retry_after_seconds` is what the server asked for, not yet bounded."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
