"""The proof of a log, made of the settings: notary, signing key, safe, and what readers are served."""
