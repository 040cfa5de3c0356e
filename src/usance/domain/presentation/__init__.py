"""The presentation of documents under a credit, as the bank that examines it keeps it."""
