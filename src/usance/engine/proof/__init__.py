"""The log as trees under signed heads: the notary, what attests its heads, and what verifies them."""
