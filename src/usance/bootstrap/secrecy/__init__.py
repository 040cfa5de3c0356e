"""What is forgotten, kept or locked: erasure, retention and the turning of keys."""
