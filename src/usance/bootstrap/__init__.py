"""The composition root: which parts there are, how they meet, how they run."""
