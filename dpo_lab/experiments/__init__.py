"""Runs that the lessons sweep over: each a function of plain settings with plain results, so it can be cached."""
