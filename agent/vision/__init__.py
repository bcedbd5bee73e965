"""Frame → readings."""
