"""The testing floor; see docs/architecture.md for what lives here."""
