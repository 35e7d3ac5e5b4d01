"""How requests are taken and answers given, so that no visitor waits for another, however slow or many.

`server` is gunicorn with its limits and its ports, which serves what `create_app` makes.

    how it runs       worker: one loop and its threads; thread_places: who gets one of them
    what comes in     request_head; unchanged: what is told without the application
    what goes out     outbox: what is unsent; overflow: that of it which waits on disk
    too much to do    wide: large answers, a few at a time; busy: how all the rest is refused
"""
