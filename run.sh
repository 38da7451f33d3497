#!/bin/sh
# The one door: sets up what is missing in .venv, then becomes the command asked for.
set -eu
caller=$PWD
cd "$(dirname "$0")"

usage() {
    cat <<'TEXT'
usage: ./run.sh [command]

  up            everything on this machine: PostgreSQL, migrations, API, recorder, job worker (the default)
  demo          the same with two stations that this machine makes itself
  test          the whole test suite; arguments go to pytest

  api           the API in production, as config/gunicorn.conf.py says
  api-dev       the API alone, restarted when a source file changes
  recorder      the recorder alone
  jobs          the job worker alone
  upgrade       bring the database's schema up to date
  migrate       write a new migration from the models (for developers)
  check         look whether the set-up is complete (--level presence, size or hash: and all recordings;
                --note: tell the account what is lost)
  audit         hold account, rows and files against each other (--depth hash reads every byte)
  manifest      print a channel's sealed days (--public-key: the key that signs them; --new-key: begin another)
  verify        verify sealed days, and the recordings in a folder, offline
  root          say whose archive the folder is; --adopt takes it as it is
  apikey        create, list or revoke API keys

  docker:build  build the container image
  docker:push   push it to the registry that STREAMREC_IMAGE names
  docker:api    run it
  help          this text
TEXT
}

fail() { # status, text
    printf 'run.sh: %s\n' "$2" >&2
    exit "$1"
}

find_python() {
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail 69 "Python 3.11 or newer is needed. Install it, or name it: PYTHON=/path/to/python3 ./run.sh"
}

make_venv() {
    python=$(find_python) || exit $?
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --clear --python "$python" .venv
    elif "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv --clear .venv
    else
        fail 69 "$python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv. Or install uv."
    fi
}

# The lock is complete, so nothing is resolved: pip would take a newer release for `coverage[toml]` than the lock's
# `coverage`, and then refuse it for want of a hash.
install() { # lock file
    echo "run.sh: installing $1 into .venv (once; it takes a moment)" >&2
    if command -v uv >/dev/null 2>&1; then
        uv pip install --quiet --python .venv/bin/python --require-hashes --no-deps -r "$1"
    else
        .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check --require-hashes --no-deps -r "$1"
    fi
}

is_installed() { # lock file
    [ -x .venv/bin/python ] && [ "$(cat ".venv/.$1" 2>/dev/null)" = "$(cksum <"$1")" ]
}

# Two first starts at a time: the second waits for the first, unless that one was killed.
enter_set_up() {
    until mkdir .venv.lock 2>/dev/null; do
        other=$(cat .venv.lock/pid 2>/dev/null) || other=
        if [ -n "$other" ] && ! kill -0 "$other" 2>/dev/null; then
            rm -rf .venv.lock
        else
            sleep 0.2
        fi
    done
    echo $$ >.venv.lock/pid
    trap 'rm -rf .venv.lock' EXIT
    trap 'exit 130' INT TERM HUP
}

leave_set_up() {
    rm -rf .venv.lock
    trap - EXIT INT TERM HUP
}

set_up() { # lock file
    export UV_PYTHON_DOWNLOADS=never
    # A service's account may have no home folder, and so no place for uv's cache.
    [ -n "${UV_CACHE_DIR:-}${XDG_CACHE_HOME:-}" ] || [ -w "${HOME:-}" ] || export UV_NO_CACHE=1
    is_installed "$1" && return
    enter_set_up
    if ! is_installed "$1"; then
        [ -x .venv/bin/python ] || make_venv
        install "$1"
        cksum <"$1" >".venv/.$1"
        # The test lock holds all of the other one.
        cksum <requirements.lock >.venv/.requirements.lock
    fi
    leave_set_up
}

container_engine() {
    for engine in docker podman; do
        if command -v "$engine" >/dev/null 2>&1; then
            echo "$engine"
            return
        fi
    done
    fail 69 "There is no docker and no podman here; scripts/build-image builds without."
}

image=${STREAMREC_IMAGE:-streamrec:latest}
verb=${1:-up}
[ $# -eq 0 ] || shift

case "$verb" in
    up | demo | api | api-dev | recorder | jobs | upgrade | migrate | check | audit | manifest | root | apikey)
        set_up requirements.lock
        exec .venv/bin/python -m streamrec "$verb" "$@"
        ;;
    verify) # takes paths, and they are those of the caller's folder; what lies there is not imported (-P)
        set_up requirements.lock
        export PYTHONPATH="$PWD"
        python=$PWD/.venv/bin/python
        cd "$caller"
        exec "$python" -P -m streamrec verify "$@"
        ;;
    test)
        set_up requirements-test.lock
        # The whole suite in three processes (tests/conftest.py says what runs where); a part of it reaches less coverage.
        [ $# -gt 0 ] || set -- --numprocesses=3 --cov-fail-under=95
        exec .venv/bin/python -m pytest --cov --cov-report=term:skip-covered "$@"
        ;;
    docker:build)
        engine=$(container_engine)
        exec "$engine" build --tag "$image" "$@" .
        ;;
    docker:push)
        [ -n "${STREAMREC_IMAGE:-}" ] || fail 64 "Name the image: STREAMREC_IMAGE=registry/name:tag ./run.sh docker:push"
        engine=$(container_engine)
        exec "$engine" push "$image"
        ;;
    docker:api)
        engine=$(container_engine)
        exec "$engine" run --rm --init --name streamrec-api --publish "${STREAMREC_PORT:-8000}:8000" \
            --volume streamrec-data:/server/data --volume streamrec-logs:/server/logs \
            --env DATABASE_URL --env DB_TYPE --env DB_USER --env DB_PASSWORD --env DB_HOST --env DB_PORT --env DB_NAME \
            --env STREAMREC_SECRET_KEY --env STREAMREC_AUTH --env STREAMREC_EGRESS_ALLOW "$@" "$image"
        ;;
    help | -h | --help)
        usage
        ;;
    *)
        printf 'run.sh: there is no command "%s"\n\n' "$verb" >&2
        usage >&2
        exit 64
        ;;
esac
