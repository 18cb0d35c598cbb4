"""Choose the band of a cascade, prove its bound on other messages, and write its bundle."""
