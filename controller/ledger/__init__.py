"""The ledger: written by one, read by many, audited by anybody."""
