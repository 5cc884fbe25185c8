"""Asynchronous requests: taken at once, answered when it is their turn, kept for a day.

An edge that takes one (`Intake`) puts it into a queue that all edges share; any edge's
`Runner` answers it, admitted and metered like any other request. What becomes of it is
written by compare-and-set (`Records`): so it is begun by one, and has one result.
"""
