"""An earlier mirror's database becomes this one's, in place: `python db.py adopt`.

What is not as it should be is refused by its name (`fitness.py`). The earlier tables are set apart under
other names (`earlier.py`) and the schema is made beside them, in one short transaction (`beginning.py`), from
where on grabbers and servers work. What they hold is then taken over in batches of runs, the newest first
(`batches.py`), each one transaction. Processes (`workers.py`) take what nobody has in hand
(`taking_over.py`), make documents of it as DQM² would have sent them (`reading.py`, `documents.py`,
`literals.py`), and lead those through the grabbers' own door, the allowlist: nothing that is raw gets into
the mirror's tables, and who is killed leaves a batch that another takes. The ups and downs of machines go the
same way (`ups_and_downs.py`). The earlier tables stay until the operator drops them (`ending.py`).
"""
