"""The messages floor; see docs/architecture.md for what lives here."""
