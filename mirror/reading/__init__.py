"""What pages and API read of a cluster's mirror.

They ask `reader`, which answers in `findings`.

    what is found    run_reader, run_search, cluster_reader; delivery_numbers; states: decided here alone
    what is new      listener hears it from the database; changes: how long what was read holds
"""
