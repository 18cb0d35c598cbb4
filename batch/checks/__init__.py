"""Before and after a run: doctor, info, estimate, audit."""
