"""How Tollgate is started: the command, the processes, the servers of one machine."""
