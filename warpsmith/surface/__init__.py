"""Thin: the typed verbs (api), and the ways to call them (cli). Surfaces hold no logic of measuring or deciding."""
