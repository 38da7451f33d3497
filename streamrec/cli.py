"""The `streamrec` command."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import click
from sqlalchemy.engine import Engine

from streamrec import __version__, logs, settings
from streamrec.errors import NotReady, StreamrecError
from streamrec.settings import PROJECT, Settings

if TYPE_CHECKING:
    from streamrec.audit import Invariant

EX_CONFIG = 78  # sysexits.h: what NotReady is to a shell
AUDIT_SECONDS = 3600.0  # a statement over years of rows may take long
GUNICORN_CONFIG = PROJECT / "config" / "gunicorn.conf.py"
GUNICORN_SAMPLE = "config/sample/gunicorn/sample-production.gunicorn.conf.py"


class _Cli(click.Group):
    """An expected error is one line for a person, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StreamrecError as exc:
            click.echo(f"streamrec: {logs.redacted(exc.detail)}", err=True)
            ctx.exit(EX_CONFIG if isinstance(exc, NotReady) else 1)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Records radio and television streams around the clock."""
    os.umask(os.umask(0o077) | 0o002)  # whatever we were started with, nobody else may write what we make


def _configured(process: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the settings of this process, its log lines set up."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(*args: Any, **options: Any) -> None:
            loaded = settings.load()
            logs.configure(loaded, process)
            command(loaded, *args, **options)

        return run

    return decorate


def _database(loaded: Settings) -> AbstractContextManager[Engine]:
    """An engine, and the embedded server under it while needed; `version` needs neither."""
    from streamrec import instance

    return instance.database(loaded)


# --- running ----------------------------------------------------------------------------------------------


@main.command()
@_configured("up")
def up(loaded: Settings) -> None:
    """Run everything on this machine: PostgreSQL, migrations, API, recorder, job worker."""
    from streamrec import instance

    instance.run(loaded)


@main.command()
def demo() -> None:
    """Run everything, with two stations that this machine makes itself, in a data folder of its own."""
    from streamrec import demonstration

    demonstration.run()


@main.command()
@click.option("--upgrade", "upgrades", is_flag=True, help="Bring the database's schema up to date first.")
def api(upgrades: bool) -> None:
    """Serve the API in production, as config/gunicorn.conf.py says."""
    os.environ.setdefault("STREAMREC_PRODUCTION", "true")
    loaded = settings.load()
    logs.configure(loaded, "api")
    if not GUNICORN_CONFIG.exists():
        raise NotReady(f"There is no config/gunicorn.conf.py. Run: cp {GUNICORN_SAMPLE} config/gunicorn.conf.py")
    from streamrec import instance, schema

    settings.refuse_samples(loaded)
    if upgrades:
        with _database(loaded) as engine:
            schema.upgrade(engine)
    if loaded.is_embedded:
        instance.run_api(loaded, ["-c", str(GUNICORN_CONFIG)])
    else:
        os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", str(GUNICORN_CONFIG)])  # noqa: S606


@main.command(name="api-dev")
@_configured("api")
def api_dev(loaded: Settings) -> None:
    """Serve the API alone and restart it whenever a source file changes."""
    from streamrec import instance, schema

    with _database(loaded) as engine:
        schema.upgrade(engine)
        instance.run_api(loaded, [*instance.SERVING, "--reload", "--workers", "1"])


@main.command()
@_configured("recorder")
def recorder(loaded: Settings) -> None:
    """Record what the channel table asks for."""
    from streamrec import schema
    from streamrec.recorder import worker

    with _database(loaded) as engine:
        schema.await_current(engine)
        worker.run(loaded)


@main.command()
@_configured("jobs")
def jobs(loaded: Settings) -> None:
    """Do what is queued: clips, exports."""
    from streamrec import schema
    from streamrec.jobworker import process

    with _database(loaded) as engine:
        schema.await_current(engine)
        process.run(loaded)


# --- the database -----------------------------------------------------------------------------------------


@main.command()
@click.argument("message", default="change")
@_configured("cli")
def migrate(loaded: Settings, message: str) -> None:
    """Write a new migration from what models.py has and the database lacks (for developers)."""
    from streamrec import schema

    with _database(loaded) as engine:
        schema.require_current(engine)
        schema.draft(engine, message)


@main.command()
@_configured("cli")
def upgrade(loaded: Settings) -> None:
    """Bring the database's schema up to date."""
    from streamrec import schema

    with _database(loaded) as engine:
        schema.upgrade(engine)
        click.echo(f"The schema is at {schema.current(engine)}.")


# --- looking ----------------------------------------------------------------------------------------------


_LEVELS = click.Choice(["presence", "size", "hash"])


@main.command()
@click.option("--level", type=_LEVELS, help="Look at all recordings too, this closely, as audit does.")
@click.option(
    "--note",
    "notes",
    is_flag=True,
    help="Tell the account what is lost, and what is back, as the daily look does.",
)
@_configured("cli")
def check(loaded: Settings, level: str | None, notes: bool) -> None:
    """Look whether everything that streamrec needs is there; exit status 1 if not.

    Without --note nothing is changed.
    """
    from streamrec import checkup

    if notes and level is None:
        raise click.UsageError("--note needs --level: how closely to look at all recordings.")
    findings = checkup.run(loaded)
    for finding in findings:
        click.echo(f"{'ok  ' if finding.is_good else 'FAIL'}  {finding.subject}: {finding.detail}")
    is_good = all(finding.is_good for finding in findings)
    if is_good and level is not None:
        is_good = _audited(loaded, level, as_json=False)
        if notes:
            is_good = _noted(loaded, level) and is_good
    sys.exit(0 if is_good else 1)


def _noted(loaded: Settings, level: str) -> bool:
    """Whether no recording has a fault, now that the account was told of all that do; says so."""
    from streamrec import db, scrub
    from streamrec.archive.looking import Depth

    with _database(loaded) as engine:
        db.Session.configure(bind=engine)
        with db.away_as_unavailable():
            faults = scrub.everything(loaded, Depth(level))
    click.echo(f"noted {faults} recordings with a fault")
    return not faults


@main.command()
@click.option("--depth", type=_LEVELS, default="size", help="How closely to look at files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_configured("cli")
def audit(loaded: Settings, depth: str, as_json: bool) -> None:
    """Hold account, rows and files against each other; repairs nothing, exit status 1 if something is wrong."""
    sys.exit(0 if _audited(loaded, depth, as_json=as_json) else 1)


def _audited(loaded: Settings, depth: str, *, as_json: bool) -> bool:
    """Whether every invariant holds; says so."""
    from streamrec import audit as oracle

    patient = loaded.model_copy(update={"db_timeout_seconds": AUDIT_SECONDS})
    with _database(patient) as engine, _session(engine) as session:
        found = oracle.run(session, loaded, depth=oracle.Depth(depth))
    if as_json:
        click.echo(
            json.dumps({"good": not any(one.violations for one in found), "invariants": list(map(asdict, found))})
        )
    else:
        for one in found:
            click.echo(f"{'FAIL' if one.violations else 'ok  '}  {one.id}: {one.claim} {_counted(one)}")
            for example in one.examples:
                click.echo(f"      {example}")
    return not any(one.violations for one in found)


def _counted(one: Invariant) -> str:
    return f"({one.violations} violations)" if one.violations else f"({one.looked_at} looked at)"


@main.command()
@click.option(
    "--adopt", is_flag=True, help="Take the archive's folder, and the bucket if there is one, as they are."
)
@_configured("cli")
def root(loaded: Settings, adopt: bool) -> None:
    """Say whose archive the folder is, and whose the bucket; exit status 1 if they are not this database's."""
    from streamrec import db, roots
    from streamrec.archive.files import Tree

    with _database(loaded) as engine:
        with _session(engine) as session, Tree(loaded.archive_dir) as tree:
            act = roots.adopt if adopt else roots.expected
            wanted = act(session, tree, host=socket.gethostname())
            click.echo(f"{tree.path} is to be the archive {wanted.root} of the database {wanted.database}.")
            found = roots.found(tree)
        if found != wanted:
            click.echo(f"It is marked as {found.root} of {found.database}." if found else "It bears no mark.")
        if loaded.s3_bucket is not None:
            with db.away_as_unavailable():
                (roots.adopt_bucket if adopt else roots.bucket)(loaded)
            click.echo(f"The bucket {loaded.s3_bucket} is this database's.")
    sys.exit(0 if found == wanted else 1)


@main.command()
@click.argument("channel_id", type=int, required=False)
@click.option("--public-key", is_flag=True, help="Print the key that signs instead, for whoever is to verify.")
@click.option("--new-key", is_flag=True, help="Begin a new key, where the old one is lost, and print it.")
@_configured("cli")
def manifest(loaded: Settings, channel_id: int | None, public_key: bool, new_key: bool) -> None:
    """Print all sealed days of a channel, and then what expired since, one JSON object a line."""
    from streamrec import manifests, signing
    from streamrec.archive import proof

    if new_key:
        click.echo(proof.published(signing.begun(loaded.signing_key)))
        return
    if channel_id is None and not public_key:
        raise click.UsageError("Give a channel's id, or --public-key, or --new-key.")
    with _database(loaded) as engine, _session(engine) as session:
        if channel_id is None:
            click.echo(proof.published(signing.required(session, loaded.signing_key)))
            return
        for line in manifests.exported(session, channel_id):
            click.echo(proof.canonical(line))


@main.command()
@click.argument("file", type=click.File("rb"))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option(
    "--public-key",
    "public_keys",
    multiple=True,
    help="The key (base64) that must have signed, or one of several; without it, the one that is named first.",
)
def verify(file: BinaryIO, folder: Path | None, public_keys: tuple[str, ...]) -> None:
    """Verify sealed days offline: FILE from `manifest` or the API, and the recordings in FOLDER if it is given."""
    from streamrec import verification

    found = verification.run(file, folder, public_keys)
    for line in found.lines:
        click.echo(line)
    sys.exit(1 if found.faults else 0)


@main.command()
@click.option("--recorder", "of_recorder", is_flag=True, help="Ask for this host's recorder instead of the API.")
@_configured("cli")
def health(loaded: Settings, of_recorder: bool) -> None:
    """Exit 0 if the API (or the recorder) of this machine lives; for container engines."""
    from streamrec import checkup

    finding = checkup.recorder_alive(loaded, socket.gethostname()) if of_recorder else checkup.api_alive(loaded)
    click.echo(finding.detail)
    sys.exit(0 if finding.is_good else 1)


@main.command()
def version() -> None:
    """Print streamrec's version."""
    click.echo(f"streamrec {__version__}")


# --- API keys ---------------------------------------------------------------------------------------------


@main.group()
def apikey() -> None:
    """Make, list and revoke the keys that open the API."""


@apikey.command(name="create")
@click.argument("name")
@_configured("cli")
def create_key(loaded: Settings, name: str) -> None:
    """Make a key called NAME and print it; it is shown this once."""
    from streamrec import apikeys

    with _database(loaded) as engine, _session(engine) as session:
        click.echo(apikeys.create(session, name))


@apikey.command(name="list")
@_configured("cli")
def list_keys(loaded: Settings) -> None:
    """List the keys' names, with the times they were made and revoked."""
    from streamrec import apikeys

    with _database(loaded) as engine, _session(engine) as session:
        for key in apikeys.listed(session):
            revoked = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "valid"
            click.echo(f"{key.name}\tmade {key.created_at:%Y-%m-%d %H:%M}\t{revoked}")


@apikey.command(name="revoke")
@click.argument("name")
@_configured("cli")
def revoke_key(loaded: Settings, name: str) -> None:
    """Let the key called NAME open nothing from now on."""
    from streamrec import apikeys

    with _database(loaded) as engine, _session(engine) as session:
        apikeys.revoke(session, name)
        click.echo(f"The key {name} is revoked.")


@contextmanager
def _session(engine: Engine) -> Iterator[Any]:
    from streamrec import db, schema

    schema.require_current(engine)
    db.Session.configure(bind=engine)
    with db.away_as_unavailable(), db.Session.begin() as session:
        yield session


def run() -> NoReturn:
    """The entry of `python -m streamrec`."""
    from streamrec import lifeline

    lifeline.watch()
    sys.exit(main())
