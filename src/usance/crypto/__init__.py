"""The crypto floor; see docs/architecture.md for what lives here."""
