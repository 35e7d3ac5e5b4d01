"""Client of DQM² and parser of its documents. It knows no database and no Flask.

reading     client, headers; sync_messages: documents and cluster status; credentials, certificate,
            deadline_tls
commands    commands: names and parameters; command_client, command_responses
documents   document_parser: from JSON to `records`; allowlist, field_parsers, series_parsers
            redaction: text; pseudonyms: machines and documents
logs        log_messages: errors and warnings, by log_formats; log_templates: lines for searching
crashes     crash_reasons: from the messages, stack_traces and exit_codes; crash_signatures: groups
shared      errors, network_errors, linear_patterns
"""
