"""A sweep on a KubeRay cluster: what is sent, what is checked before, and how it is told."""
