"""Taximeter: the meter for LLM calls."""
