"""`python -m streamrec`."""

from streamrec.cli import run

run()
