"""The web server: pages, API and Control Room, and how they are served.

content    pages; api; api_v1; control_room; health; static_files; legacy_urls
shared     staleness: of the data path; action_text: names of the Control Room's actions; times
requests   query_args: query parameters; databases: readers of the clusters
responses  responses; markdown; errors; problems: those of api_v1; outdated: of kept data
caches     cache: of reads and of responses
serving    gunicorn_app: processes; asgi: application around Flask; rendering: of cached responses
           http_protocol, request_head, client_connection, spool: a client's connection
           limits: queues by kind of request; refusals: bounds on a request
           access_log, metrics
"""
