"""Client of DQM² and parser of its documents. It knows no database and no Flask."""
