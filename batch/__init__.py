"""Label CSV dumps of messages with an exported GPT-2 classifier.

This is the part that runs in production: it imports no torch, tensorflow or
pandas, and opens no socket.
"""

__version__ = "0.1.0"
