"""Redaction of text from P5 by the rules of docs/data-policy.md; the entry point is `redactor`."""
