"""The documentary credit as a bank keeps it: application to close, import and export side."""
