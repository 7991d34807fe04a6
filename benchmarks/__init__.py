"""A program that measures einloom against what people use today.

In come named contractions as data (``cases/*.json``); out come checked, interleaved timings of
einloom and of its peers as Markdown, JSON and plots (``results/``). Peers are asked through
:mod:`benchmarks.peers`; nothing here is imported by the library.
"""
