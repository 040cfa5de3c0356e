"""Data keys and data subjects: what is sealed under which key, and how it is forgotten."""
