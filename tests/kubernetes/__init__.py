"""The Kubernetes tests: an API server of their own, and a battery that any cluster can take."""
