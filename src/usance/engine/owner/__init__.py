"""Deciding: the owner of partitions, its units, and how it takes over what the log says."""
