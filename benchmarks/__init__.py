"""Benchmarks: each prints a table and writes its figures to tmp/benchmarks as JSON. `make bench` runs all.

catch_up            rate at which a grabber mirrors existing documents
end_to_end_latency  from an upload at DQM² to the mirror's API
initial_sync        a machine with a great many headers
idle_usage          CPU and memory of grabbers at normal traffic
storage_size        bytes per finished job
viewer_load         CPU per viewer of the live page
page_latency        every page and API call on ten years of data
growth              CPU time of each with growing databases
server_memory       memory of the web server under load
api_rates           rate of each API call, compared with a plain Flask application
crash_groups        precision and recall of groups of crashes
crash_grouping      cost of grouping crashes for a grabber
redaction, legacy_import
"""
