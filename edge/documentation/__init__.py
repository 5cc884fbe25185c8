"""The API's pages for people: one for each endpoint, made of its declaration."""
