"""Answering facts with commands and effects: reactors, and sagas as streams of their own."""
