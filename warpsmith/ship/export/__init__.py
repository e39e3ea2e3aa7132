"""Exports: releases of one family as a package, a C header, a Hugging Face kernel or a FlashInfer-Trace solution.

``family`` reads releases and says every reason against exporting them, ``guards`` orders the guard table,
``expressions`` and ``header`` turn the table and the launch plans into C, ``binding`` adds the functions that tvm-ffi
calls, ``package`` and ``layouts`` lay the formats out, ``building`` compiles, ``keeping`` puts an export in its place,
whole or not at all, and back. What runs in the exported package is in :mod:`warpsmith.ship.runtime`.
"""
