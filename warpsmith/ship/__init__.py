"""Releases: immutable, evidenced, chained. Owns the folder ``releases/`` and what may enter it; never measures.

``index`` is the chain of lines, ``shelf`` the one writer, ``seal`` the check of what lies there, ``provenance`` the
signed statement, ``refusals`` the conditions of entry, ``evidence`` the profilers' reports, ``drafting`` the manifest,
``staleness`` what changed since, ``handoff`` and ``pins`` what consumers read. ``export`` makes packages, ``runtime``
travels with them; ``patch``, ``environment`` and ``hooks`` (known targets) put them into frameworks, and ``installed``
is the gate where they are called. Measuring is done by who calls it.
"""
