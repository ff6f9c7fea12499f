"""Signing for upstreams that take no plain key, by their vendors' own libraries."""
