"""The grabber's parts: from requests to DQM² to rows in the database. `grabber.py` is the daemon.

scheduler            which machine is mirrored when; backoff: the pauses
                     cluster_status_writer: states of the machines
machine_sync         one machine, in time slices; change_feed: its new headers, resets of its revisions
                     header_fetcher, document_fetcher: requests; machine_writer: rows and checkpoint
                     quarantine_retry: documents that could not be parsed or stored
gateway_queue        DQM² requests, one at a time; stop_event: the stop of the program
document_pipeline    responses parsed into rows; parser_pool, parser_process: in processes of their own
heartbeat, health    status for the pages; liveness and readiness for supervisors; metrics
maintenance          work on stored data while the grabber is idle; certificate_monitor
notifier             notifications; dispatcher: those of one receiver
                     receiver_queue: when each is due; notification_message: its text
                     sender_process, apprise_sender: its delivery; notify_test: a test message
"""
