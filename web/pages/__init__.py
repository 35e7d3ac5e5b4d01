"""The mirror's pages; the templates of each are in the folder of the same name.

pages       live, wall, job, cluster, timeline, statistics, crashes, crash_group, log_search, guides, reports
            timeline_cells: of `timeline`
            find: redirects of searches
live page   job_table, verdict, delivery_graph, elog; job_history and job_log: of expanded jobs and `job`
every page  freshness: the bar at the top; incidents: alerts; missed: those while a page did not run
crashes     crash_rows, crash_text, crash_issue; active_mutes
runs        run_filter, run_search, source_run
shared      blueprints: registration; formatting, markup, navigation, page_urls, contacts, external_links: for
            templates
"""
