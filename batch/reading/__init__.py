"""From bytes to records: opening, compression, encoding, dialect, grammar."""
