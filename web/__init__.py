"""The near side: everything that a browser sees.

what is there     pages; api; control_room; health; static_files
what is asked     queries: the parameters of an address
what it is from   clusters: the databases; away, deadlines: where they don't answer; keeping: what is kept
what is told      answers, csv_files, log_text; errors; headers, compression: of every answer
how it is served  serving; request_log, metrics, metrics_folder: what is noted of it
"""
