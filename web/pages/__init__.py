"""The mirror's pages; the templates of each are in the folder of the same name.

`blueprints` registers them. `live`, `wall`, `job`, `cluster`, `timeline`, `statistics`, `crashes`,
`crash_group`, `log_search` and `guides` are a page each, `reports` has several, and `find` redirects
searches. `freshness` is the bar at the top of every page; `outages` and `incidents` are computed for it.
`missed` summarizes the time in which a page did not run.
"""
