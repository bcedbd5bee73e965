"""fer-agent: a classroom sensor for the edge that publishes aggregate engagement only."""

__version__ = "0.1.0"
