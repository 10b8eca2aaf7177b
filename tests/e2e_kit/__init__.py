"""A real API server for a test, replicas of the control plane and proxies beside it, and ways to disturb them."""
