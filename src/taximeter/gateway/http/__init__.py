"""The data plane: bytes from clients to upstreams and back. See ``README.md`` in the folder above."""
