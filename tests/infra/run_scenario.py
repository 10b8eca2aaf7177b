"""Run one function of a test file inside a sandbox: `python run_scenario.py FILE FUNCTION [ARGUMENT]…`."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from socket import socket

import uvloop

from smeagol.infra.host import sandbox


def main(_sockets: Sequence[socket]) -> int:
    file, function, *arguments = sys.argv[1:]
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    result = getattr(module, function)(*arguments)
    if inspect.iscoroutine(result):
        uvloop.run(result)  # the loop that `smeagol up` uses
    return 0


if __name__ == "__main__":
    sys.exit(sandbox.enter(main))
