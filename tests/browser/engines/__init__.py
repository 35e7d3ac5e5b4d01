"""Browsers of three engines with one interface, for the tests that every engine has to pass."""
