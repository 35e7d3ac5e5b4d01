"""`/api/v1/`: the mirror's data as resources with named fields, read only.

`resources` are the types of responses and `queries` those of query parameters. `views` has a function per
resource: `run_finder` finds runs, `mapping` turns results of readers into resources. The annotations of these
functions are their documentation: `operations` reads them, `openapi` has the description that
`tools/api_description.py` makes of them, and `blueprint` serves it.
"""
