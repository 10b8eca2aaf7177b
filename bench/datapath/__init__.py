"""What two sidecars add to a request, beside no proxy and beside the least that two Envoys can do for mutual TLS."""
