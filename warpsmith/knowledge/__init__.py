"""What is known: skills (one per rule), memory of every task, patterns over all campaigns, and imported wikis.

Memory and patterns are views of the ledgers; what was exported as Markdown is read back beside them, keyed so that
nothing counts twice. The search index is a cache of all four and never the truth. May import ``analyse`` and ``store``.
"""
