"""What runs around the agent: service files, contract, broker samples and the collector."""
