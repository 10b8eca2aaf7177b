"""A real Kubernetes on this machine, made of Go modules and Debian packages: no registry, no virtual machine.

The API server, etcd and the controllers are ordinary processes; they need no root. Each node is a process tree in
namespaces of its own (network, mounts, PIDs, host name), with containerd, kubelet and kube-proxy inside, so that all it
makes, mounts, interfaces and firewall rules included, ends with its first process.

`make cluster` and `make cluster-down` call `__main__`; tests call `running` and `find` of `cluster`.
"""
