"""The laws of each interface, as suites that any implementation can run."""
