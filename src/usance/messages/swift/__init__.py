"""The swift floor; see docs/architecture.md for what lives here."""
