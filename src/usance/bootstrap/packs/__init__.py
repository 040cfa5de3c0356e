"""Audit packs: gathered, verified, handed over and laid into the safe."""
