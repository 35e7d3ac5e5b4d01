"""Persistent state of the mirror. SQL is in this package, `legacy_import/`, `migrations/` and `db.py` only.

schema          schema: revision, migration
writing         rows, codecs, log_compression, log_dictionaries, bulk_insert, upserts, writer,
                leader_lock, machines, retention
crashes         log_findings, log_backfill, log_index, log_search, crash_groups, crash_group_writer,
                crash_marks, crash_reader, crash_queries
reading         database_reader, stored_series, run_queries, run_reader, run_summaries, run_figures,
                run_listing, job_reader, delivery_reader, cluster_reader, reader, read_models, job_state,
                client_names, client_rows, client_runs, machine_rows, prepared_statements, statement_timeout
deliveries      delivery_statistics, delivery_backfill
reports         shift_reader, playback_comparison_reader, efficiency_reader
data path       sync_status, outages
transitions     transitions, transition_watch, client_transitions, receiver_store
changes         notifications, change_listener
Control Room    login_store, audit_log, anonymous_refusals, command_queue, mutes
commands        db_command_runner, import_progress
"""
