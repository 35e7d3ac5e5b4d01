"""Test of the receivers of notifications: `python dqmsquare_mirror.py notify-test [NAME …]`.

Sends one message to each receiver, or to those named, and prints whether it was delivered.
"""

import argparse
import sys

import dqmsquare_cfg
from grabbing import notification_message
from grabbing.sender_process import SenderProcess


def main(arguments: list[str] | None = None) -> int:
    """Send the messages; the exit status is 1 if one could not be delivered, 2 if there is no receiver."""
    parser = argparse.ArgumentParser(
        prog="notify-test", description="Send a test message to the receivers of notifications."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="receiver in NOTIFY_URLS (default: all)")
    options = parser.parse_args(arguments)
    settings = dqmsquare_cfg.load_or_exit()
    by_name = {receiver.name: receiver for receiver in settings.notify_urls}
    if not by_name:
        dqmsquare_cfg.exit_with_errors(["NOTIFY_URLS is empty: there is no receiver"])
    if unknown := [name for name in options.names if name not in by_name]:
        dqmsquare_cfg.exit_with_errors(
            [f"{unknown[0]!r} is no receiver in NOTIFY_URLS; accepted: {', '.join(by_name)}"]
        )
    message = notification_message.test_message(settings.public_url)
    is_complete = True
    for name in options.names or by_name:
        reason = SenderProcess(by_name[name], (message.title, message.body)).result()
        is_complete = is_complete and reason is None
        sys.stdout.write(f"{name} ({by_name[name].scheme}): {reason or 'delivered'}\n")
        sys.stdout.flush()
    return 0 if is_complete else 1
