"""`consume` groups: handlers of other people on the same units, and what operators see of them."""
