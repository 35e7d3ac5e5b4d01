"""Control commands."""

from dqm2.simulator.exchange import Answer, Request, error_page


class Control:
    """Answers `GET {base}/cr/exe?what=…`."""

    def answer(self, request: Request) -> Answer:
        """The answer to a command whose cookie was right."""
        return error_page(404, "Not Found", f"Not found: {request.path!r}")
