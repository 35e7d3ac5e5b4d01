"""The cells of the timeline as HTML: a page has thousands, for which a template takes five times as long.

A cell is a client in a run, coloured by its worst state. It links to the log of its last job that crashed,
else to the client in its run. Its text is the number of events of its job or, if it has several, how many of
them did not crash and how many did: `1/2`. The cells are as short as possible, without white space between
them. The style sheet names the state. The scripts know run and client by row and column.
"""

from collections.abc import Callable, Sequence
from urllib.parse import quote

from markupsafe import Markup, escape

from storage.read_models import ClientSummary, RunSummary
from web.pages.formatting import DASH, abbreviated

_NO_JOB = f"<td>{DASH}</td>"


class CellWriter:
    """Writes the cells of `clients`, the columns; `job_url` returns the address of a job by its id."""

    def __init__(self, clients: Sequence[str], job_url: Callable[[str], str]) -> None:
        self._job_url = job_url
        # The end of a cell's address, behind that of its run.
        self._of_client = {client: str(escape(f"&q={quote(client)}")) for client in clients}

    def of_run(self, run: RunSummary, run_url: str) -> Markup:
        """The cells of a run, whose page has the address `run_url`."""
        # As plain texts, which are put together twice as fast as markup.
        url, summaries = str(escape(run_url)), run.clients
        cells = [
            self._cell(summaries[client], f"{url}{of_client}") if client in summaries else _NO_JOB
            for client, of_client in self._of_client.items()
        ]
        return Markup("".join(cells))  # noqa: S704 - addresses are escaped, and the rest has nothing to escape

    def _cell(self, client: ClientSummary, client_url: str) -> str:
        """A cell; `client_url` is escaped."""
        url = client_url if client.last_crash is None else f"{escape(self._job_url(client.last_crash))}#fatal"
        text = (
            abbreviated(client.events_total)
            if client.jobs == 1
            else f"{client.jobs - client.crashed}/{client.crashed}"
        )
        return f'<td><a class="cell state-{client.state}" href="{url}">{text}</a></td>'
