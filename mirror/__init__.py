"""The middle of the house: what the mirror keeps, between DQM² (`dqm2/`) and the browser (`web/`)."""
