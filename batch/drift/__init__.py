"""Do the rows look like the training data?"""
