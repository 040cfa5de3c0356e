"""The story that `tools/make_book.py` plays to write `examples/book/`."""
