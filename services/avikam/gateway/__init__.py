"""The front door: takes REST and gRPC, picks workers, retries and resumes; runs without torch."""
