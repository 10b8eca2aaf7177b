"""Measures Smeagol beside others on this machine: `python -m bench` writes `bench/results.md`. No part of the tests."""
