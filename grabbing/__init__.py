"""The grabber's parts: from requests to DQM² to rows in the database. `grabber.py` is the daemon.

scheduler            which machine is mirrored when; backoff: the pauses
machine_sync         one machine, quarantined documents included; document_fetcher: its documents
gateway_queue        DQM² requests, one at a time
document_pipeline    responses parsed into rows; parser_pool: in processes of their own
heartbeat, health    status for the pages; liveness, readiness and metrics for supervisors
maintenance          log dictionaries, retention; certificate_monitor
"""
