"""One run: windows of records are read, labelled and written."""
