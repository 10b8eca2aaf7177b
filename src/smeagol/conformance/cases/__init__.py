"""The cases, one module a profile; a case is a function with a docstring, made one by `model.case_of`."""

from smeagol.conformance.cases import canary, matrix, mutual_tls, sidecar
from smeagol.conformance.model import Case

__all__ = ["CASES"]

CASES: tuple[Case, ...] = (*mutual_tls.CASES, *matrix.CASES, *canary.CASES, *sidecar.CASES)
