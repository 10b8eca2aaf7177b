"""A Kubernetes cluster as infrastructure: who a proxy is, what is written into statuses, Events, who leads."""
