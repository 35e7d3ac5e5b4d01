"""What redaction takes out of text, a module a kind (docs/data-policy.md); `dqm2/redact.py` uses it."""
