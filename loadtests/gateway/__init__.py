"""The gateway's own benchmark: `python -m loadtests.gateway`."""
