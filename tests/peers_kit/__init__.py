"""Adapters against the real CRDs of their peers: golden pairs, and an API server that judges what they make."""
