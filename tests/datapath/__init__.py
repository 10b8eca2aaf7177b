"""Real Envoys, real namespaces: what `smeagol up` makes of manifests, seen from outside and from inside the Pods."""
