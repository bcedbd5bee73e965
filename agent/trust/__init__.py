"""What keeps promises over time: audit log, budget on disk, pause, status light, signed models."""
