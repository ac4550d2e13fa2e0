"""Servers that speak a provider's protocol without a model behind it: for tests, benchmarks, and trying by hand."""
