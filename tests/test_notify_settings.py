"""NOTIFY_URLS and NOTIFY_RULES: what is accepted, and errors that name the thing and never a secret."""

import logging
import re
from pathlib import Path

import apprise
import pytest
import yaml

import dqmsquare_cfg
from config import receivers
from config.receivers import NotifyRule, Receiver
from dqmsquare_cfg import Settings, SettingsError
from grabbing import apprise_sender, sender_process
from tests.examples import long

TOKEN = "Zq81-not-for-anybody"


SECRETS = {"DQM_FFF_SECRET": "0123456789", "PSEUDONYM_SECRET": "p" * 16, "SESSION_SECRET": "s" * 16}


def load(urls: str, rules: str = "") -> Settings:
    """Settings of development with these receivers and rules."""
    return dqmsquare_cfg.load({"ENV_FILE": "", "NOTIFY_URLS": urls, "NOTIFY_RULES": rules, **SECRETS})


def test_it_takes_receivers_with_and_without_names() -> None:
    mail = "mailto://user:pass@example.org?to=a@example.org&x=1=2"
    settings = load(
        f"shift=mmosts://example.org/{TOKEN}  {mail};json://example.org\nntfys://example.org/a json://b"
    )
    assert settings.notify_urls == (
        Receiver("shift", "mmosts", f"mmosts://example.org/{TOKEN}"),
        Receiver("mailto", "mailto", mail),
        Receiver("json", "json", "json://example.org"),
        Receiver("ntfys", "ntfys", "ntfys://example.org/a"),
        Receiver("json-2", "json", "json://b"),
    )
    assert TOKEN not in repr(settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{TOKEN}", "has an invalid entry (entry 1)"),
        (f"a=json://x b=mmosts:{TOKEN}", "has an invalid entry (entry 2)"),
        (f"a b=json://{TOKEN}", "has an invalid entry (entry 1)"),
        (f"né=json://{TOKEN}", "has an invalid entry (entry 1)"),
        (f"a=json://x a=json://{TOKEN}", "has the name 'a' more than once (entry 2)"),
        (" ".join(f"r{number}=json://{TOKEN}" for number in range(21)), "has 21 entries"),
    ],
)
def test_it_rejects_invalid_receivers_without_quoting_them(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(text)
    (line,) = error.value.lines
    assert line.startswith(f"NOTIFY_URLS {message}")
    assert TOKEN not in line


def test_it_takes_rules() -> None:
    text = (
        "shift: cluster=production kind=crashed,stuck client=hlt*,ecal group=new hours=22-7;\n*:\tkind=dqm2"
    )
    assert receivers.rules(text) == (
        NotifyRule("shift", ("production",), ("crashed", "stuck"), ("hlt*", "ecal"), ("new",), (22, 7)),
        NotifyRule("*", kinds=("dqm2",)),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shift cluster=production", "has an invalid entry (entry 1)"),
        (
            "shift: colour=red",
            "has the key 'colour' in the rule of 'shift'; accepted: each of cluster",
        ),
        ("shift: kind=crashed kind=lost", "has the key 'kind' in the rule of 'shift'"),
        (
            "shift: cluster=lookarea",
            "has cluster='lookarea' in the rule of 'shift'; accepted: production",
        ),
        ("shift: kind=crash", "has kind='crash' in the rule of 'shift'; accepted: crashed, new_group"),
        ("shift: client=a;shift: client=*b", "has client='*b' in the rule of 'shift'"),
        ("shift: group=old", "has group='old' in the rule of 'shift'; accepted: new, known"),
        ("shift: hours=8", "has invalid hours in the rule of 'shift'; accepted: e.g. hours=22-7"),
        ("shift: hours=8-25", "has invalid hours in the rule of 'shift'"),
        ("mail: kind=lost", "has a rule of 'mail', which is no receiver in NOTIFY_URLS"),
    ],
)
def test_it_rejects_invalid_rules_and_names_them(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load("shift=json://example.org", text)
    (line,) = error.value.lines
    assert line.startswith(f"NOTIFY_RULES {message}")


def test_only_a_url_that_apprise_refuses_stops_a_grabber(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = load("json://example.org bad=nosuch://example.org").notify_urls
    assert [receiver for receiver, _ in sender_process.refused_receivers([good, bad])] == [bad]
    # As on a machine that is too busy to start the processes of the check.
    monkeypatch.setattr(sender_process, "TIMEOUT_S", 0)
    assert list(sender_process.refused_receivers([good, bad])) == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"nosuch://{TOKEN}", "apprise has no service for nosuch://"),
        (f"growl://{TOKEN}", "apprise requires gntp for growl://"),
        long(f"tgram://{TOKEN}", "apprise does not accept the URL"),
        long(f"windows://{TOKEN}", "apprise requires a desktop for windows://"),
        long(f"amqp://{TOKEN}/q", "for amqp:// it recommends pika or python-qpid-proton"),
    ],
)
def test_the_reason_for_a_refused_url_names_the_service(
    url: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The sender takes the logs of its process over; they are restored.
    for logger in (logging.getLogger(), logging.getLogger("apprise")):
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "propagate", logger.propagate)
    for refused in (apprise_sender.check(url), apprise_sender.deliver(url, "a title", "a body")):
        assert refused is not None
        assert reason in refused
        assert TOKEN not in refused


def test_every_scheme_of_apprise_can_be_set() -> None:
    services = apprise.Apprise().details(show_disabled=True)["schemas"]
    schemes = {
        scheme for each in services for key in ("protocols", "secure_protocols") for scheme in each[key] or ()
    }
    assert "json" in schemes
    for scheme in schemes:
        (receiver,) = receivers.receivers(f"{scheme}://example.org")
        assert receiver.scheme == scheme


@pytest.mark.parametrize(
    ("hours", "accepted"),
    [((22, 7), {22, 23, *range(7)}), ((8, 20), set(range(8, 20))), ((0, 0), set(range(24)))],
)
def test_hours_may_go_over_midnight(hours: tuple[int, int], accepted: set[int]) -> None:
    rule = NotifyRule("shift", hours=hours)
    assert {hour for hour in range(24) if rule.accepts_hour(hour)} == accepted


def test_the_examples_of_the_guide_are_accepted_in_the_secret_and_in_a_file(tmp_path: Path) -> None:
    guide = (Path(__file__).resolve().parent.parent / "docs" / "operator.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    given = {name: value for example in examples for name, value in yaml.safe_load(example).items()}
    settings = dqmsquare_cfg.load({"ENV_FILE": "", **SECRETS, **given})
    assert [receiver.name for receiver in settings.notify_urls] == ["shift", "oncall"]
    assert len(settings.notify_rules) == 3
    assert [client for client, _ in settings.experts] == ["ecal*", "*"]
    file = tmp_path / "env"
    file.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    assert dqmsquare_cfg.load({"ENV_FILE": str(file), **SECRETS}) == settings
