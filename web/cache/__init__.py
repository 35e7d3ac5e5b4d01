"""Caches of reads and of responses, valid until PostgreSQL notifies of a change
(`storage/change_listener.py`).

cached_reader     reads of a cluster, and the last known ones during an outage
dependencies      what a response was made from, and until when it is valid
response_cache    whole responses
"""
