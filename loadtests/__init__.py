"""Load tests: the same Locust files run against one machine and against a cluster."""
