"""What the end-to-end tests stand on: a Kubernetes of our own."""
