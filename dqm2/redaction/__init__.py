"""Redaction of text from P5 (docs/data-policy.md): `redactor` applies the rules of the other modules."""
