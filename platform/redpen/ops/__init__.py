"""Health, readiness, request ids, structured logs, security headers."""
