"""One declaration a module; being here is all it takes to be served."""
