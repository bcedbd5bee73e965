"""Summary → MQTT, without losing a window."""
