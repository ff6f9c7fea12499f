"""What ``benchmarks/gateway.py`` measures, and with what: gateways, a mock provider and a load generator."""
