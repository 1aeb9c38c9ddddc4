"""Which method is best: candidates, who proposes them, how they are judged, and the store."""
