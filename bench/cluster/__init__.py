"""What the control plane costs in a cluster, and how fast it is from a write to the API to the last acknowledgement."""
