"""The place where people look: the contract's messages → SQL → a page that shows rooms now and over time.

broker (MQTT) → ingest (batches) → store (one transaction) → ack; hub and history read the database for the page,
so that a page can run beside the ingest, in another process, or on another machine.
"""
