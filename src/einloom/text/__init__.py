"""Specs as text and data: calls as text, JSON documents and TOML files in, expressions out.

Text is read through :mod:`ast`, JSON and TOML through the standard library; nothing in them is ever
evaluated. The expressions are those that a front-end translator builds.
"""
