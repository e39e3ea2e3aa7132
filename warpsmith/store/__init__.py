"""What is kept: facts only. The append-only ledger, content-addressed blobs, task folders, and History =
fold(events).
"""
