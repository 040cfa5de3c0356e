"""FIN messages: reading, writing and checking them by layout tables by standards release."""
