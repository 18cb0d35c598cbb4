"""A person checks labels in a browser, and how good the model is by what was found."""
