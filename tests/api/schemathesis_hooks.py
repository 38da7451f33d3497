"""What schemathesis cannot know: how lists of channels are written, and which refusals are right."""

from __future__ import annotations

from typing import Any

import schemathesis

for media_type in ("audio/x-mpegurl", "audio/mpegurl", "application/vnd.apple.mpegurl"):

    @schemathesis.serializer(media_type)
    def as_text(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
        return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.check
def valid_requests_break_no_schema_rule(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """A 400 with `errors` means that a schema was broken; other ones are rules that no schema can say."""
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if is_valid and response.status_code == 400 and "errors" in response.json():
        raise AssertionError(f"a valid request was refused by a schema: {response.json()['detail']}")
