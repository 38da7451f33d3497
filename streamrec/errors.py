"""The exceptions that a caller may meet; HTTP statuses live in handlers/_problems.py.

StreamrecError
├── NotFound            the thing named does not exist
│   └── Gone            it did exist, and will not come back
│       └── Lost        it was recorded, and its file is missing or altered
├── Conflict            it exists already, or has changed meanwhile
│   └── PreconditionFailed   If-Match names another version
├── Invalid             the request breaks a rule; names the field and the rule
│   ├── EgressDenied    the address may not be reached from here
│   └── ContentTooLarge there are more bytes than a setting allows
├── Denied              known, but not allowed
│   └── AlreadyStored   the same content is there already
├── Unavailable         a part that is needed is away; try again later
│   ├── DatabaseAway
│   └── StorageFull     the disk has no room
└── NotReady            the set-up is not complete; says which command to run
"""

from __future__ import annotations


class StreamrecError(Exception):
    """The root: `detail` is a sentence for a person, `context` holds facts for machines."""

    def __init__(self, detail: str, **context: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.context = context


class NotFound(StreamrecError):
    """The thing named does not exist."""


class Gone(NotFound):
    """It did exist, and will not come back."""


class Lost(Gone):
    """It was recorded, and its file is missing or was altered; only putting it back would help."""


class Conflict(StreamrecError):
    """It exists already, or has changed meanwhile."""


class PreconditionFailed(Conflict):
    """If-Match names a version that is no longer the current one."""


class Invalid(StreamrecError):
    """The request breaks a rule; `field` names where."""

    def __init__(self, detail: str, *, field: str, **context: object) -> None:
        super().__init__(detail, field=field, **context)


class EgressDenied(Invalid):
    """The address is private, loopback, link-local or otherwise special, and no setting allows it."""


class ContentTooLarge(Invalid):
    """There are more bytes than a setting allows."""


class Denied(StreamrecError):
    """The caller is known but not allowed to do this."""


class AlreadyStored(Denied):
    """The same content is there already, which the document of the file service calls forbidden."""


class Unavailable(StreamrecError):
    """A part that is needed is away; the same request may succeed later."""


class DatabaseAway(Unavailable):
    """PostgreSQL does not answer."""


class StorageFull(Unavailable):
    """The disk has no room for what was sent."""


class NotReady(StreamrecError):
    """The set-up is not complete; `detail` names the command to run."""
