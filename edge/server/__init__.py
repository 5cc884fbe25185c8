"""uvicorn, made for the open internet: from a connection's bytes to the application's scope."""
