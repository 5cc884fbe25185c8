"""The servers and processes of `tollgate up`, on this machine and without containers."""
