"""All of apprise, loaded: it looks for its plugins at its first URL, which takes a quarter of a second."""

import apprise

apprise.Apprise.instantiate("json://localhost")
