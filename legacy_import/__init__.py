"""Import of an earlier mirror's database, in place: `python db.py adopt`.

    cli             the command and its options
    preflight       refuses a database that differs from the known legacy schema; dry run
    lifecycle       renames the legacy tables and creates the schema beside them; drop and undo
    importer        imports batches of runs, newest first, each in one transaction
    workers         processes that share the batches through the database
    machine_states  imports the history of machine states
    legacy_reader   reads rows as the DQM² documents that they were made from; repr_parser
    legacy_tables   columns, names and row security of the legacy tables

Grabbers and servers can run as soon as the tables are renamed. Imported documents pass through the same
allowlist as fetched ones, so no raw data gets into the mirror's tables. A killed process leaves its batch to
another one. The legacy tables remain until the operator drops them.
"""
