"""Two models on the same messages: which labels change, where the scores move."""
