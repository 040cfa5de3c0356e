"""usance: a documentary-trade book run as auditable event streams."""
