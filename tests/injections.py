"""Attacks on parameters that end up in a shell command at P5."""

from dqm2.commands import Parameter
from tests.control_room import BEAM, RUN, UNIT

# A valid value of each parameter, to append payloads to.
GOOD = {
    Parameter.KIND: "playback",
    Parameter.CLUSTER: "playback",
    Parameter.HOST: UNIT,
    Parameter.PLAYBACK: "1",
    Parameter.CLIENT: BEAM,
    Parameter.STATE: "1",
    Parameter.RUN_NUMBER: RUN,
    Parameter.RUN_KEY: "pp_run",
    Parameter.NUMBER_OF_LS: "100",
}

# Appended to a valid value; every other one is also tried alone.
_PAYLOADS = (
    # Other commands.
    ";reboot", "; reboot", "&reboot", "&&reboot", "|reboot", "||reboot", "\nreboot", "\r\nreboot", "\rreboot",
    "`reboot`", "$(reboot)", "${IFS}reboot", "$((1))", "$IFS$9reboot", "{reboot,now}", "<(reboot)",
    ">(reboot)",
    # Files.
    ">/etc/passwd", ">>/etc/passwd", "</etc/passwd", "2>&1", "<<<x", "../../etc/passwd", "/etc/passwd",
    "~root", "..", "./x", "*", "?", "[a-z]", "file:///etc/passwd",
    # Quotes.
    "'", '"', "''", '""', "';reboot;'", '";reboot;"', "\\", "\\n", "\\;reboot", "'$(reboot)'", '"`reboot`"',
    "'\\''",
    # Options of ssh and other programs.
    "-oProxyCommand=reboot", " -oProxyCommand=reboot", "-o ProxyCommand=reboot", "--", "-F/tmp/x", "-l root",
    " -v",
    # More than one value, other targets.
    " other", ",dqmfu-c2b02-45-01", " dqmfu-c2b02-45-01", ";dqmfu-c2b02-45-01", "@evil.example", ":9215",
    "#x", "%", ".evil.example", ".cern.ch", ".cms.evil.example", ".cms.", ".", "/", "?x=1", "&host=evil",
    "&what=restart_fff",
    # White space, control characters and their encodings.
    " ", "\t", "\n", "\r", "\x00", "\x0b", "\x0c", "\x1b[0m", "\x7f", "\x85", "%0a", "%0Areboot", "%00",
    "%20", "%3b", "%252e", "+", "\\u000a", "&#10;", "\u2028", "\u2029", "\u00a0", "\u200b", "\ufeff",
    "\u202e", "\ufffd",
    # Look-alikes of digits and letters.
    "\uff1b", "\uff11", "\u0661", "\u0967", "\u0430", "\u2010", "\u2013", "\u2212", "\u1d7ce", "\U0001d7d9",
    "\u0131", "\u212a", "\xe9",
    # Templates, SQL, HTML, JSON, formats.
    "{{7*7}}", "${7*7}", "%s", "%n", "{0}", "' OR 1=1--", "'; DROP TABLE audit_log;--",
    "<script>alert(1)</script>", '"]', "[]", "{}", "null", "None", "true", "nan", "undefined", "\\x3b",
    "\x1f\x8b",
)  # fmt: skip

# Tried alone.
_WHOLE = (
    "", "0x10", "1e3", "-1", "+1", " 1", "1 ", "1.0", "1_0", "01", "00", "2", "10001", "99999",
    "999999999999999999999", "on", "yes", "TRUE", "Playback", "PLAYBACK", "lookarea", "all", "any",
    "playback production", "localhost", "127.0.0.1", "::1", "0", "evil.example", "dqmrubu-c2a06-05-01",
    "dqmfu-c2b05-45-01.cms", UNIT.upper(), f"{UNIT}.CMS", f"{UNIT}.cms.cms", "run", "run-1", "Run256936",
    "run 256936", "run256936.", "run2569361234567", "_cfg.py", "-a_cfg.py", "beam_cfg.pyc", "beam_cfg_py",
    "../beam_cfg.py", "beam/beam_cfg.py", "x" * 300, "a" * 129 + "_cfg.py", "9" * 5000, "A" * 30_000,
)  # fmt: skip


def injections(parameter: Parameter) -> list[str]:
    """Strings that must never reach DQM² as a value of a parameter."""
    good = GOOD[parameter]
    behind, alone = [f"{good}{payload}" for payload in _PAYLOADS], _PAYLOADS[::2]
    return [text for text in dict.fromkeys([*behind, *alone, *_WHOLE]) if text not in _ACCEPTED[parameter]]


# Valid values among the above.
_ACCEPTED = {
    **{parameter: frozenset({good}) for parameter, good in GOOD.items()},
    Parameter.HOST: frozenset({UNIT}),
    Parameter.PLAYBACK: frozenset({"0", "1"}),
    Parameter.STATE: frozenset({"0", "1"}),
    Parameter.NUMBER_OF_LS: frozenset({"2", "100"}),
    Parameter.RUN_NUMBER: frozenset({RUN, "0", "00", "01", "2", "10001", "99999"}),
}
