"""The command line of spam-batch: its commands and their options."""
