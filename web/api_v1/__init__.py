"""`/api/v1/`: the mirror's data as resources with named fields, read only.

`resources` are the types of responses and `queries` those of query parameters. `views` has a function per
resource; its annotations are its documentation: `openapi` describes them, and `page` shows that description.
"""
