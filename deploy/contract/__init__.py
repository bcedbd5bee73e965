"""The MQTT contract as files, made from the agent's own types: `python -m deploy.contract` writes them again."""
