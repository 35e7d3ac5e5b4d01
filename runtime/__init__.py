"""Several processes as one: started one by one, watched together, ended in time, none left behind."""
