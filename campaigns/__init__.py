"""The campaigns that ship with closedloop, each with the result it is expected to reach."""
