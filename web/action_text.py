"""Actions of the Control Room in words, as the audit and reports show them."""

from dqm2.commands import COMMANDS
from storage.audit_log import AuditedAction
from storage.client_names import client_name

# Audit log names of actions that are not DQM² commands.
SIGN_IN, SIGN_OUT, SIGN_OUT_EVERYWHERE, PAGE = "sign_in", "sign_out", "sign_out_everywhere", "page"
MUTE, UNMUTE = "mute", "unmute"
# Audit log name of a request that names no command.
UNKNOWN_COMMAND = "unknown"
# Actions that are not DQM² commands, in words.
OTHER_ACTIONS = {
    MUTE: "mute a client or a crash",
    UNMUTE: "end a mute",
    SIGN_IN: "sign in",
    SIGN_OUT: "sign out",
    SIGN_OUT_EVERYWHERE: "sign out everywhere",
    PAGE: "open a page",
    UNKNOWN_COMMAND: "unknown command",
}
# Actions that change something, of DQM² or of the mirror.
CHANGES = frozenset((MUTE, UNMUTE, *(name for name, command in COMMANDS.items() if command.is_change)))
_CLIENT_FILE_SUFFIX = "_cfg.py"


def describe(action: AuditedAction) -> str:
    """A requested action in words, whether or not it was done: "switch csc off on dqmfu-c2b01-.."."""
    wording = _wording(action)
    return _describe_other(action) if wording is None else wording[0]


def describe_done(action: AuditedAction) -> str:
    """An action that was done, in words: "csc switched off on dqmfu-c2b01-.."."""
    wording = _wording(action)
    return _describe_other(action) if wording is None else wording[1]


def _wording(action: AuditedAction) -> tuple[str, str] | None:
    """A change as a request and as done, `None` for other actions."""
    parameters = action.parameters or {}
    client = client_name(parameters.get("client", "").removesuffix(_CLIENT_FILE_SUFFIX)) or "a client"
    muted = f"the crash “{parameters['crash']}”" if "crash" in parameters else client
    run, lumisections = parameters.get("run_number", "a run"), parameters.get("number_of_ls", "all")
    match action.command:
        case "change_dqm_client":
            state = "off" if parameters.get("state") == "0" else "on"
            words = f"switch {client} {state}", f"{client} switched {state}"
        case "restart_hltd":
            words = "restart HLTD", "HLTD restarted"
        case "restart_fff":
            words = "restart DQM²", "DQM² restarted"
        case "start_playback_run":
            run_key = f" as {parameters['run_key']}" if "run_key" in parameters else ""
            details = f"with {lumisections} LS{run_key}"
            words = f"start {run} {details}", f"{run} started {details}"
        case "copy_production_runs":
            words = (
                f"copy {lumisections} LS of {run} to playback",
                f"{lumisections} LS of {run} copied to playback",
            )
        case _ if action.command == MUTE:
            details = f"for {parameters.get('hours')} h: {parameters.get('reason')}"
            words = f"mute {muted} {details}", f"{muted} muted {details}"
        case _ if action.command == UNMUTE:
            words = f"end the mute of {muted}", f"mute of {muted} ended"
        case _:
            return None
    where = f" on {action.machine}" if action.machine else ""
    return words[0] + where, words[1] + where


def _describe_other(action: AuditedAction) -> str:
    spec = COMMANDS.get(action.command)
    words = OTHER_ACTIONS.get(action.command, action.command) if spec is None else f"show {spec.title}"
    return " · ".join(filter(None, (words, action.machine or action.cluster)))
