"""Telling people elsewhere what became of a run: Discord, Slack, mail, a plain webhook; through apprise.

Owns the addresses and what is secret in them (``channels``), the record of each notification (``record``), the thread
that sends without being waited for (``post``), and the process that speaks to the network (``sending``). Knows no
events: what is worth telling is the surface's business.
"""
