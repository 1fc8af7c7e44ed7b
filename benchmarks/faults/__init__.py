"""Faults injected into a running shop of the demo in production mode, and what becomes of acknowledged events."""
