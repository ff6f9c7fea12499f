"""The gateway: a metering reverse proxy. See ``README.md`` beside this file."""
