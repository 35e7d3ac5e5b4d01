"""The far side: everything that knows DQM². It knows no database and no Flask."""
