"""Discovery clients for tests: a model of one, one over gRPC, and the real Envoy.

Not in `tests/xds`, because the folders under `tests` are importable, and `xds` is the name of the protocol's messages.
"""
