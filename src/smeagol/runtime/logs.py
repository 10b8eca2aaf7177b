"""How the control plane logs: a constant event with facts as keys; for people on a terminal, as JSON elsewhere."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

import structlog

__all__ = ["configure"]


def configure(*, verbose: bool, stream: TextIO = sys.stderr) -> None:
    """Set up structlog once, at the start of a process."""
    for_people = stream.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if for_people else "iso", utc=not for_people),
            structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"))
            if for_people
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
