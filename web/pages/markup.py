"""Recurring markup as template filters: icons, states, terms, times, contacts, cells, charts.

Jinja computes a filter of a constant once, when it compiles the template, and calls any other directly. A
macro costs ten times as much, and a page has hundreds of these. Times carry unix milliseconds for the
scripts, and the form in which `static/js/time_zone.js` formats them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache

from flask import Flask
from jinja2 import Environment, pass_environment
from markupsafe import Markup, escape

from config.parsers import Contact
from dqm2 import exit_codes
from dqmsquare_cfg import Settings
from web import static_files, times
from web.pages import contacts, external_links, formatting, freshness

STATE_ICONS: Mapping[str, str] = {
    "crashed": "x-octagon-fill",
    "stuck": "hourglass-split",
    "lost": "question-circle-fill",
    "missing": "dash-circle-fill",
    "starting": "stopwatch-fill",
    "running": "play-circle-fill",
    "finished": "check-circle-fill",
}

# Terms that a first visitor may not know: in the help panel, and as titles or buttons where they occur.
TERMS: Mapping[str, str] = {
    "Client": "a CMSSW program that makes the DQM plots of one subsystem",
    "LS": "lumisection: 23.3 s of data taking",
    "Run key": "type of the run, for example pp_run or cosmic_run",
    "HLTD": "the service that starts the clients on each machine",
    "OMS": "the run database of the experiment",
    "CMSSW": "the software of the experiment, of which each run uses one release",
}

# An icon in the sprite of tools/frontend_libs.py: its name, its view box and its paths.
_SYMBOL = re.compile(r'<symbol id="([\w-]+)" viewBox="([\d ]+)"[^>]*>(.+?)</symbol>', re.DOTALL)
# More than tables have columns.
_MAX_COLUMNS = 128
_MAX_EXIT_CODES = 64
_MAX_RELEASES = 128
# Of a list of values.
_SHOWN_VALUES = 2
# Of a chart of crashes.
_BARS_HEIGHT, _BAR_STEP, _LOWEST_BAR, _HIGHEST_BAR = 24, 4, 6, 22


def init_app(app: Flask, settings: Settings) -> None:
    """Register the filters, and the globals that they share with templates."""
    app.jinja_env.filters.update(
        icon=icon,
        state=state,
        exit_code_note=exit_code_note,
        term=term,
        term_id=term_id,
        full_time=full_time,
        short_time=short_time,
        clock_time=clock_time,
        ago=ago,
        update_age=_update_ages(freshness.age_resolution_s(settings)),
        in_parentheses=in_parentheses,
        duration_since=duration_since,
        cell=cell,
        release=release,
        crash_bars=crash_bars,
    )
    app.jinja_env.globals.update(
        STATE_ICONS=STATE_ICONS,
        TERMS=TERMS,
        contact_link=_contact_link(contacts.lookup(settings.experts), settings.experts_url),
    )


@lru_cache(_MAX_EXIT_CODES)
def exit_code_note(code: int) -> Markup:
    """An exit code in words, with its meaning as a tooltip."""
    explained = exit_codes.describe(code)
    return Markup('<span class="exit-code{}" title="Exit code {}: {}">{}</span>').format(
        " state-crashed" if code else "", code, explained.meaning, explained
    )


def term(name: str, text: str = "") -> Markup:
    """A term on the page, with its own `text` if it has one: a button that opens the help panel there."""
    return Markup(
        '<button type="button" class="term" popovertarget="help" popovertargetaction="show"'
        ' data-term="{}" title="{}: {}">{}</button>'
    ).format(term_id(name), name, TERMS[name], text or name)


def term_id(name: str) -> str:
    """The id of a term in the help panel."""
    return f"term-{name.lower().replace(' ', '-')}"


def full_time(at: datetime) -> Markup:
    """A time with its date and zone."""
    local, _, _ = formatting.both_zones(at).partition(formatting.BETWEEN_ZONES)
    return _time(at, "full", local)


def short_time(at: datetime) -> Markup:
    """A minute, with the date if that is not today."""
    return _time(at, "short", formatting.datetime_short(at))


def clock_time(at: datetime) -> Markup:
    """A time of day, with the date if that is not today."""
    return _time(at, "clock", formatting.time_of_day(at))


def ago(at: datetime, fallback: str = "") -> Markup:
    """An age, filled in by a script from the server's clock; `fallback` is shown without scripts."""
    return _markup(f'<span class="ago" data-ago="{times.unix_ms(at)}">{escape(fallback)}</span>')


def in_parentheses(age: Markup) -> Markup:
    """An age in parentheses, after the time itself; absent without scripts."""
    return _markup(f'<span class="js-only">({escape(age)})</span>')


def duration_since(at: datetime) -> Markup:
    """The time since then, filled in by a script."""
    return _markup(f'<span class="duration" data-since="{times.unix_ms(at)}"></span>')


@pass_environment
def cell(environment: Environment, value: object, column: object) -> Markup:
    """A cell of a column in a table whose rows become cards on a phone (templates/_responsive_table.html)."""
    # As items first: most columns are mappings.
    start = cell_start(environment.getitem(column, "head"), environment.getitem(column, "kind") or "")
    return _markup(f"{start}{str(escape(value)).strip()}</td>")


@lru_cache(_MAX_COLUMNS)
def cell_start(head: str, kind: str) -> str:
    """The start tag of a cell of a column with this head and kind."""
    kind_class = f' class="{escape(kind)}"' if kind else ""
    return f'<td data-head="{escape(head)}"{kind_class}>'


@lru_cache(_MAX_RELEASES)
def release(version: str | None) -> Markup:
    """A CMSSW version, with a link to the release notes where there are some."""
    url = external_links.release_notes_url(version) if version else None
    if url is None:
        return escape(version or formatting.DASH)
    return _markup(
        f'<a href="{escape(url)}" rel="noopener" target="_blank" title="Release notes">{escape(version)}</a>'
    )


def first_of(values: Sequence[str]) -> Markup:
    """The first of some values, the others as a tooltip."""
    shown = escape(", ".join(values[:_SHOWN_VALUES]) or formatting.DASH)
    if len(values) <= _SHOWN_VALUES:
        return shown
    title, more = escape(", ".join(values)), len(values) - _SHOWN_VALUES
    return _markup(f'{shown} <span class="secondary-text" title="{title}">and {more} more</span>')


def crash_bars(recent: Mapping[int, int], runs: Sequence[int]) -> Markup:
    """Jobs by run: a bar for each of the newest `runs` with a crash, above a line with dashes."""
    most, width = max(recent.values(), default=1), _BAR_STEP * len(runs)
    bars = []
    for index, run in enumerate(runs):
        jobs = recent.get(run)
        if jobs is not None:
            height = round(_LOWEST_BAR + (_HIGHEST_BAR - _LOWEST_BAR) * jobs / most)
            bars.append(
                f'<rect x="{_BAR_STEP * index}" y="{_BARS_HEIGHT - height}" width="3" height="{height}">'
                f"<title>Run {run}: {formatting.counted(jobs, 'crash', 'crashes')}</title></rect>"
            )
    return _markup(
        f'<svg class="crash-bars" viewBox="0 0 {width} {_BARS_HEIGHT}" width="{width}"'
        f' height="{_BARS_HEIGHT}" role="img"'
        f' aria-label="Crashed in {len(recent)} of the last {len(runs)} runs">'
        f'<path class="no-crash" d="M0 23h{width}"/>{"".join(bars)}</svg>'
    )


def _markup(html: str) -> Markup:
    """HTML in which every text is escaped; `Markup.format` takes ten times as long."""
    return Markup(html)  # noqa: S704


def _time(at: datetime, form: str, text: str) -> Markup:
    # No format of a time has a character that must be escaped.
    return _markup(
        f'<time datetime="{times.iso(at)}" data-at="{times.unix_ms(at)}" data-form="{form}"'
        f' title="{formatting.both_zones(at)}">{text}</time>'
    )


@cache
def _icons() -> Mapping[str, Markup]:
    """The icons of Bootstrap by name.

    Their paths are part of the page: a browser copies each reference to another file into a tree of its own,
    computes its styles again when the file arrives, and so takes a sixth longer to open the live page.
    """
    symbols = _SYMBOL.findall(static_files.read("vendor/icons.svg").decode())
    return {
        name: _markup(f'<svg class="icon" viewBox="{box}" aria-hidden="true">{paths}</svg>')
        for name, box, paths in symbols
    }


def icon(name: str) -> Markup:
    """An icon of Bootstrap."""
    return _icons()[name]


@lru_cache(len(STATE_ICONS))
def state(name: str) -> Markup:
    """A state of a job, or of a client, with its icon."""
    return Markup('<span class="state state-{}">{} {}</span>').format(name, icon(STATE_ICONS[name]), name)


def _update_ages(resolution_s: int) -> Callable[..., Markup]:
    def update_age(at: datetime, fallback: str = "") -> Markup:
        """The age of a machine's data; an age below what the page can resolve is shown as an upper limit."""
        return _markup(
            f'<span class="ago" data-ago="{times.unix_ms(at)}" data-resolution-s="{resolution_s}">'
            f"{escape(fallback)}</span>"
        )

    return update_age


def _contact_link(contact_of: Callable[[str], Contact | None], experts_url: str) -> Callable[..., Markup]:
    def contact_link(client: str = "") -> Markup:
        """Contact for a client, or for everything else if none is given; without one, the contact list."""
        contact = contact_of(client)
        if contact is not None:
            return _contact(contact)
        if not experts_url:
            return Markup()
        return Markup(
            '<a class="experts-link" href="{}" rel="noopener" target="_blank"'
            ' title="Contacts of the experts">contacts</a>'
        ).format(experts_url)

    return contact_link


def _contact(contact: Contact) -> Markup:
    name: str = contact.name
    if contact.url:
        name = Markup('<a class="experts-link" href="{}" rel="noopener" target="_blank">{}</a>').format(
            contact.url, contact.name
        )
    phone = ""
    if contact.phone:
        phone = Markup(' <a class="experts-link" href="{}">{}</a>').format(contact.phone_url, contact.phone)
    return Markup('<span class="contact">call {}{}</span>').format(name, phone)
