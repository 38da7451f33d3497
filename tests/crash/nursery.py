"""Imported once by the process from which the children are forked, so that they have all at once."""

from __future__ import annotations

import logging

import structlog

from streamrec import audit  # noqa: F401 - imported for the children
from tests import samples
from tests.crash import workload

for name in workload.CHANNELS.values():
    samples.units_of(name)
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
